// Embeds texts and compares them: embed FILE.pt TEXT [TEXT..]

#include <bertscript/bertscript.hpp>

#include <cstdio>
#include <exception>

int main(int argc, char **argv) try {
    if (argc < 3) {
        std::fprintf(stderr, "usage: embed FILE.pt TEXT [TEXT..]\n");
        return 2;
    }
    const bertscript::Module module(argv[1]);
    const std::vector<std::string_view> texts(argv + 2, argv + argc);
    const bertscript::Tensor embeddings = module.embed(texts);

    // [texts, width], each row of length 1 if the pipeline normalises.
    const float *values = embeddings.data<float>();
    const auto width = static_cast<std::size_t>(embeddings.shape()[1]);
    for (std::size_t i = 0; i < texts.size(); i++) {
        for (std::size_t j = 0; j < texts.size(); j++) {
            float dot = 0;
            for (std::size_t k = 0; k < width; k++) {
                dot += values[i * width + k] * values[j * width + k];
            }
            std::printf("%6.3f ", dot);
        }
        std::printf(" %s\n", argv[i + 2]);
    }
    return 0;
} catch (const std::exception &error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
}
