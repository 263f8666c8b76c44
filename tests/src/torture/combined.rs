//! What goes wrong in several parameters at once, or inside of one.

/// Statements of C that change something, and the status of the call.
pub(super) type Values = &'static [(&'static str, &'static str)];

/// Those of each function.
pub(super) const COMBINED: &[(&str, Values)] = &[
    (
        "bertscript_tensor_copy_from",
        &[
            ("shape = zeros; nbytes = 0", "BERTSCRIPT_OK"),
            ("shape = zeros; nbytes = 0; data = NULL", "BERTSCRIPT_OK"),
            ("shape = NULL; ndim = 0; nbytes = 8", "BERTSCRIPT_OK"),
            ("shape = ones; ndim = 64; nbytes = 8", "ANY"),
            ("shape = ones; ndim = 65; nbytes = 8", "BERTSCRIPT_INVALID_ARGUMENT"),
            ("dtype = BERTSCRIPT_BOOL; nbytes = 6", "BERTSCRIPT_INVALID_ARGUMENT"),
            ("dtype = BERTSCRIPT_BOOL; nbytes = 6; data = ones", "BERTSCRIPT_OK"),
            ("dtype = BERTSCRIPT_BFLOAT16; nbytes = 12", "BERTSCRIPT_OK"),
            ("data = (const char *)numbers + 1", "BERTSCRIPT_OK"),
        ],
    ),
    (
        "bertscript_tensor_borrow",
        &[
            ("shape = zeros; nbytes = 0", "BERTSCRIPT_OK"),
            ("shape = zeros; nbytes = 0; data = NULL", "BERTSCRIPT_OK"),
            ("shape = NULL; strides = NULL; ndim = 0; nbytes = 8", "BERTSCRIPT_OK"),
            ("shape = ones; strides = most; ndim = 64", "ANY"),
            ("shape = ones; ndim = 65", "BERTSCRIPT_INVALID_ARGUMENT"),
            ("strides = column_strides", "BERTSCRIPT_OK"),
            ("strides = backward_strides", "BERTSCRIPT_INVALID_ARGUMENT"),
            ("strides = column_strides; release = NULL", "BERTSCRIPT_OK"),
            ("strides = zeros; nbytes = 8", "BERTSCRIPT_OK"),
            ("data = (char *)numbers + 1", "BERTSCRIPT_INVALID_ARGUMENT"),
            ("device = \"cuda:99\"", "BERTSCRIPT_DEVICE_UNAVAILABLE"),
        ],
    ),
    (
        "bertscript_tensor_from_dlpack",
        &[
            ("managed->version.major = 99", "BERTSCRIPT_VERSION_MISMATCH"),
            ("managed->version.minor = 99", "BERTSCRIPT_OK"),
            ("managed->dl_tensor.ndim = -1", "BERTSCRIPT_INVALID_ARGUMENT"),
            ("managed->dl_tensor.ndim = INT32_MIN", "BERTSCRIPT_INVALID_ARGUMENT"),
            ("managed->dl_tensor.ndim = 0", "BERTSCRIPT_OK"),
            ("managed->dl_tensor.ndim = INT32_MAX", "BERTSCRIPT_INVALID_ARGUMENT"),
            ("managed->dl_tensor.shape = NULL", "BERTSCRIPT_INVALID_ARGUMENT"),
            ("managed->dl_tensor.shape = (int64_t *)least", "BERTSCRIPT_INVALID_ARGUMENT"),
            ("managed->dl_tensor.shape = (int64_t *)most", "BERTSCRIPT_INVALID_ARGUMENT"),
            ("managed->dl_tensor.shape = (int64_t *)zeros", "BERTSCRIPT_OK"),
            ("managed->dl_tensor.strides = NULL", "BERTSCRIPT_OK"),
            ("managed->dl_tensor.strides = (int64_t *)least", "BERTSCRIPT_INVALID_ARGUMENT"),
            ("managed->dl_tensor.strides = (int64_t *)most", "BERTSCRIPT_INVALID_ARGUMENT"),
            ("managed->dl_tensor.strides = (int64_t *)minus_ones", "BERTSCRIPT_INVALID_ARGUMENT"),
            (
                "managed->dl_tensor.strides = (int64_t *)backward_strides",
                "BERTSCRIPT_INVALID_ARGUMENT",
            ),
            ("managed->dl_tensor.strides = (int64_t *)zeros", "BERTSCRIPT_OK"),
            ("managed->dl_tensor.strides = (int64_t *)column_strides", "BERTSCRIPT_OK"),
            ("managed->dl_tensor.data = NULL", "BERTSCRIPT_INVALID_ARGUMENT"),
            ("managed->dl_tensor.byte_offset = 1", "BERTSCRIPT_INVALID_ARGUMENT"),
            ("managed->dl_tensor.dtype.lanes = 2", "BERTSCRIPT_INVALID_ARGUMENT"),
            ("managed->dl_tensor.dtype.bits = 7", "BERTSCRIPT_INVALID_ARGUMENT"),
            ("managed->dl_tensor.dtype.code = 77", "BERTSCRIPT_INVALID_ARGUMENT"),
            (
                "managed->dl_tensor.device.device_type = (DLDeviceType)99",
                "BERTSCRIPT_INVALID_ARGUMENT",
            ),
            ("managed->dl_tensor.device.device_type = kDLCUDA", "REFUSED"),
            (
                "managed->dl_tensor.device.device_type = kDLCUDA; managed->dl_tensor.device.device_id = -1",
                "BERTSCRIPT_INVALID_ARGUMENT",
            ),
            (
                "managed->dl_tensor.device.device_type = kDLCUDA; managed->dl_tensor.device.device_id = -4",
                "BERTSCRIPT_INVALID_ARGUMENT",
            ),
            (
                "managed->dl_tensor.device.device_type = kDLCUDA; managed->dl_tensor.device.device_id = INT32_MIN",
                "BERTSCRIPT_INVALID_ARGUMENT",
            ),
            (
                "managed->dl_tensor.device.device_type = kDLCUDA; managed->dl_tensor.device.device_id = INT32_MAX",
                "REFUSED",
            ),
        ],
    ),
    (
        "bertscript_module_embed_into",
        &[
            ("capacity = 31", "BERTSCRIPT_BUFFER_TOO_SMALL"),
            ("capacity = 0; embeddings = NULL", "BERTSCRIPT_BUFFER_TOO_SMALL"),
            ("capacity = 32", "BERTSCRIPT_OK"),
            ("count = 0; capacity = 0; embeddings = NULL", "BERTSCRIPT_OK"),
        ],
    ),
    (
        "bertscript_module_embed_quantized",
        &[
            ("capacity = 127", "BERTSCRIPT_BUFFER_TOO_SMALL"),
            ("capacity = 0; destination = NULL", "BERTSCRIPT_BUFFER_TOO_SMALL"),
            ("capacity = 128", "BERTSCRIPT_OK"),
            ("row_stride = 63", "BERTSCRIPT_INVALID_ARGUMENT"),
            ("row_stride = 65; capacity = 128", "BERTSCRIPT_BUFFER_TOO_SMALL"),
            ("row_stride = 65; capacity = 129", "BERTSCRIPT_OK"),
            ("row_stride = SIZE_MAX; capacity = SIZE_MAX", "BERTSCRIPT_INVALID_ARGUMENT"),
            ("count = 0; capacity = 0; destination = NULL", "BERTSCRIPT_OK"),
        ],
    ),
    (
        "bertscript_quantize_embeddings",
        &[
            ("dim = 64; capacity = 127", "BERTSCRIPT_BUFFER_TOO_SMALL"),
            ("dim = 64; capacity = 128", "BERTSCRIPT_OK"),
            ("ranges = NULL; embedding_precision = \"float32\"", "BERTSCRIPT_OK"),
            ("embedding_precision = \"binary\"", "BERTSCRIPT_INVALID_ARGUMENT"),
            ("count = 0; embeddings = NULL; destination = NULL", "BERTSCRIPT_OK"),
            ("count = SIZE_MAX / 8; dim = 8", "BERTSCRIPT_INVALID_ARGUMENT"),
            ("destination = (void *)embeddings", "BERTSCRIPT_INVALID_ARGUMENT"),
            ("destination = (char *)ranges + 1", "BERTSCRIPT_INVALID_ARGUMENT"),
        ],
    ),
    (
        "bertscript_embedding_ranges",
        &[
            ("dim = 32", "BERTSCRIPT_OK"),
            ("dim = 33", "BERTSCRIPT_BUFFER_TOO_SMALL"),
            ("embeddings = no_floats", "BERTSCRIPT_INVALID_ARGUMENT"),
        ],
    ),
    (
        "bertscript_module_run",
        &[
            ("names = same_names", "BERTSCRIPT_INVALID_ARGUMENT"),
            ("capacity = 1", "BERTSCRIPT_BUFFER_TOO_SMALL"),
            ("capacity = 1; outputs = NULL", "BERTSCRIPT_BUFFER_TOO_SMALL"),
            ("count = 1", "BERTSCRIPT_OK"),
        ],
    ),
    (
        "bertscript_module_run_ids",
        &[
            ("batch = SIZE_MAX; length = 0", "BERTSCRIPT_INVALID_ARGUMENT"),
            ("batch = SIZE_MAX; length = SIZE_MAX", "BERTSCRIPT_INVALID_ARGUMENT"),
            ("batch = SIZE_MAX / 4; length = 4", "BERTSCRIPT_INVALID_ARGUMENT"),
            ("batch = 0; length = 0; input_ids = NULL", "ANY"),
        ],
    ),
    (
        "bertscript_module_warm_up",
        &[
            ("batch = 1 << 20; length = 64", "ANY"),
            ("batch = 1 << 20; length = 1 << 20", "ANY"),
            ("batch = 64; length = 1 << 20", "ANY"),
        ],
    ),
    (
        "bertscript_tokenizer_decode",
        &[
            ("buffer = NULL; capacity = 0", "BERTSCRIPT_BUFFER_TOO_SMALL"),
            ("buffer = NULL; capacity = 0; length = NULL", "BERTSCRIPT_BUFFER_TOO_SMALL"),
            ("ids = NULL; count = 0", "BERTSCRIPT_OK"),
        ],
    ),
];
