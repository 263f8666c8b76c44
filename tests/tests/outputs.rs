//! Where commands and the library write: what is there already is kept, followed,
//! replaced or refused.

use bertscript::{
    Checkpoint, Device, ErrorKind, LoadOptions, Module, PreTrained, Shapes, Tensor,
    write_safetensors,
};
use bertscript_tests::{bertscript, bertscript_ok, binary, fixture, scratch, torch};
use std::fs::{self, FileType, Permissions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder with a module, its inputs and texts, for commands that write a file.
struct Scene(tempfile::TempDir);

/// The files that commands write, by the argument of [`Scene::arguments`].
const OUTPUTS: [&str; 5] =
    ["model.pt", "outputs.safetensors", "texts.npy", "texts.safetensors", "texts.jsonl"];

impl Scene {
    fn new() -> Self {
        let scene = Self(scratch());
        fs::create_dir(scene.path("out")).unwrap();
        bertscript_ok(&["export", text(&fixture("text/sentence")), "-o", &scene.name("module.pt")]);
        let ids = Tensor::new([2_i64, 9, 3], [1, 3]).unwrap();
        let inputs = [("input_ids".to_owned(), ids)];
        write_safetensors(scene.path("in.safetensors"), &inputs).unwrap();
        fs::write(scene.path("in.txt"), "a cat\na dog\n".repeat(50)).unwrap();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn name(&self, name: &str) -> String {
        text(&self.path(name)).to_owned()
    }

    /// The command that writes an output of this kind to `to`.
    fn arguments(&self, kind: &str, to: &Path) -> Vec<String> {
        let (module, to) = (self.name("module.pt"), text(to));
        let (inputs, texts) = (self.name("in.safetensors"), self.name("in.txt"));
        let checkpoint = fixture("text/sentence");
        let words: &[&str] = match kind {
            "model.pt" => &["export", text(&checkpoint), "-o", to],
            "outputs.safetensors" => &["run", &module, "--inputs", &inputs, "--outputs", to],
            "bench.json" => &["bench", &module, "--json", to],
            "bench.html" => &["bench", &module, "--html", to],
            _ => &["embed", &module, "--input", &texts, "--output", to],
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    /// The names in the folder `out`.
    fn outputs(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("out")).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A failure in one line that has all of `words`, with nothing printed.
fn refused(output: &Output, words: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words:?}: {} {stderr}", output.status);
    assert!(output.stdout.is_empty(), "{words:?}");
    let line = stderr.lines().next().unwrap_or_default();
    assert!(line.starts_with("error: "), "{stderr}");
    for word in words {
        assert!(line.contains(word), "{word:?} is missing from:\n{stderr}");
    }
}

/// What may be at a path, other than a regular file: made by this function, with its name.
type Special = (&'static str, fn(&Path), fn(&FileType) -> bool);

const SPECIALS: [Special; 5] = [
    ("a directory", |path| fs::create_dir(path).unwrap(), FileType::is_dir),
    ("a FIFO", |path| make("mkfifo", path, &[]), FileTypeExt::is_fifo),
    ("a socket", |path| drop(UnixListener::bind(path).unwrap()), FileTypeExt::is_socket),
    // As /dev/null; and numbers that no driver has.
    (
        "a character device",
        |path| make("mknod", path, &["c", "1", "3"]),
        FileTypeExt::is_char_device,
    ),
    ("a block device", |path| make("mknod", path, &["b", "60", "0"]), FileTypeExt::is_block_device),
];

fn make(command: &str, path: &Path, arguments: &[&str]) {
    let done = Command::new(command).arg(path).args(arguments).output().unwrap();
    if !done.status.success() {
        println!("NOT TESTED, {command}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

/// Every special file that can be made here, in the folder `out` under this name.
fn each_special(scene: &Scene, name: &str, check: impl Fn(&Path, &str)) {
    let path = scene.path("out").join(name);
    for (what, make, is_it) in SPECIALS {
        make(&path);
        // A device takes rights.
        let Ok(before) = fs::symlink_metadata(&path) else { continue };
        // Otherwise opening a FIFO would wait.
        let _reader = before
            .file_type()
            .is_fifo()
            .then(|| fs::OpenOptions::new().read(true).write(true).open(&path).unwrap());
        check(&path, what);
        let after = fs::symlink_metadata(&path).unwrap();
        assert!(is_it(&after.file_type()) && after.ino() == before.ino(), "{what}: {name}");
        assert_eq!(scene.outputs(), [name], "{what}");
        if before.is_dir() { fs::remove_dir(&path) } else { fs::remove_file(&path) }.unwrap();
    }
}

#[test]
fn only_regular_files_are_replaced() {
    let scene = Scene::new();
    for kind in OUTPUTS.into_iter().chain(["bench.json", "bench.html"]) {
        each_special(&scene, kind, |path, what| {
            let found = format!("found {what}, expected a regular file or nothing");
            refused(&bertscript(&scene.arguments(kind, path)), &[text(path), &found]);
            // By a link, too.
            let link = scene.path(&format!("link-{kind}"));
            symlink(path, &link).unwrap();
            refused(&bertscript(&scene.arguments(kind, &link)), &[text(&link), &found]);
            fs::remove_file(&link).unwrap();
        });
    }
    each_special(&scene, "bertscript-embed.1", |path, what| {
        let pages = bertscript(&["man", &scene.name("out")]);
        // Other pages may have been written.
        for name in scene.outputs().iter().filter(|name| path.file_name() != Some(name.as_ref())) {
            fs::remove_file(scene.path("out").join(name)).unwrap();
        }
        refused(&pages, &[text(path), what]);
    });
}

#[test]
fn the_library_replaces_only_regular_files() {
    let scene = Scene::new();
    let checkpoint = Checkpoint::open(fixture("text/sentence")).unwrap();
    let model = PreTrained::from_checkpoint(&checkpoint, &LoadOptions::default()).unwrap();
    let module = Module::load(scene.path("module.pt"), Device::Cpu, None).unwrap();
    each_special(&scene, "model.pt", |path, what| {
        let results = [
            module.save(path),
            model.export(&Shapes::Any, path).map(drop),
            write_safetensors(path, &[]),
        ];
        for error in results.map(Result::unwrap_err) {
            let expected = format!("found {what}, expected a regular file or nothing");
            assert_eq!(error.to_string(), format!("{}: {expected}", text(path)));
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
    });
    // A module is mapped from its file, which may be replaced: the mapping keeps the old one.
    let before = fs::metadata(scene.path("module.pt")).unwrap().ino();
    module.save(scene.path("module.pt")).unwrap();
    assert_ne!(fs::metadata(scene.path("module.pt")).unwrap().ino(), before);
    let again = Module::load(scene.path("module.pt"), Device::Cpu, None).unwrap();
    let run = |module: &Module| {
        let inputs = bertscript::Inputs::from_rows(&[[2, 9, 3]], 0).unwrap();
        module.run(&inputs).unwrap().into_tensors()
    };
    assert!(torch(&run(&module)[0].1).equal(&torch(&run(&again)[0].1)));
}

#[test]
fn links_are_followed() {
    let scene = Scene::new();
    for kind in OUTPUTS {
        let file = scene.path("out").join(kind);
        let (link, chain) = (scene.path("link"), scene.path(kind));
        symlink(Path::new("out").join(kind), &link).unwrap();
        symlink("link", &chain).unwrap();
        // To nothing, then to a file.
        for old in [None, Some("old")] {
            if let Some(old) = old {
                fs::write(&file, old).unwrap();
            }
            bertscript_ok(&scene.arguments(kind, &chain));
            for link in [&link, &chain] {
                assert!(fs::symlink_metadata(link).unwrap().is_symlink(), "{kind}");
            }
            assert_eq!(scene.outputs(), [kind]);
            assert!(fs::symlink_metadata(&file).unwrap().is_file(), "{kind}");
            assert!(fs::metadata(&file).unwrap().len() > 3, "{kind}");
        }
        for path in [&file, &link, &chain] {
            fs::remove_file(path).unwrap();
        }
        symlink(&chain, &link).unwrap();
        symlink(&link, &chain).unwrap();
        let output = bertscript(&scene.arguments(kind, &chain));
        refused(&output, &[text(&chain)]);
        assert!(String::from_utf8_lossy(&output.stderr).contains("symbolic links"), "{kind}");
        for path in [&link, &chain] {
            fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn the_mode_of_a_replaced_file_is_kept() {
    let scene = Scene::new();
    for kind in OUTPUTS {
        let file = scene.path("out").join(kind);
        let mode = || fs::metadata(&file).unwrap().mode() & 0o777;
        // As any new file, by the umask.
        fs::write(&file, "").unwrap();
        let usual = mode();
        fs::remove_file(&file).unwrap();
        bertscript_ok(&scene.arguments(kind, &file));
        assert_eq!(mode(), usual, "{kind}");
        for kept in [0o600, 0o640, 0o666, 0o755] {
            fs::set_permissions(&file, Permissions::from_mode(kept)).unwrap();
            bertscript_ok(&scene.arguments(kind, &file));
            assert_eq!(mode(), kept, "{kind}");
        }
    }
}

#[test]
fn names_may_be_as_long_as_the_file_system_allows() {
    let scene = Scene::new();
    for kind in OUTPUTS {
        let ending = kind.split('.').next_back().unwrap();
        let name = format!("{}.{ending}", "n".repeat(254 - ending.len()));
        assert_eq!(name.len(), 255);
        let file = scene.path("out").join(&name);
        bertscript_ok(&scene.arguments(kind, &file));
        assert_eq!(scene.outputs(), [name]);
        fs::remove_file(&file).unwrap();
    }
}

/// `ulimit -f` in a shell: files of at most 512 bytes.
#[test]
fn a_limit_of_file_sizes_is_an_error() {
    let scene = Scene::new();
    for kind in OUTPUTS {
        let file = scene.path("out").join(kind);
        let mut shell = Command::new("sh");
        shell.args(["-c", "ulimit -f 1 && exec \"$0\" \"$@\""]).arg(binary());
        let output = shell.args(scene.arguments(kind, &file)).output().unwrap();
        refused(&output, &[text(&file)]);
        assert!(String::from_utf8_lossy(&output.stderr).contains("File too large"), "{kind}");
        if kind == "texts.jsonl" {
            // Lines that are whole stay.
            let lines = fs::read_to_string(&file).unwrap();
            assert!(lines.is_empty() || lines.ends_with('\n'), "{lines}");
            fs::remove_file(&file).unwrap();
        }
        assert!(scene.outputs().is_empty(), "{kind}: {:?}", scene.outputs());
    }
}
