//! Archives of models that were traced.

use super::metadata::symbols;
use super::{Archive, CONFIG_FILE, METADATA_FILE};
use super::{FORMAT_VERSION, InputInfo, Limits, Metadata, OutputInfo, weights_sha256};
use crate::atomic_file;
use crate::error::{Error, ErrorKind, Result};
use crate::models::PreTrained;
use crate::shapes::Shapes;
use crate::tensor::Tensor;
use crate::trace::scan_code;
use std::fs::File;
use std::io::{BufWriter, Read, Seek};
use std::path::Path;
use torchscript::ScriptModule;
use torchscript_reader::ArchiveReader;

impl Archive {
    /// Describes a model that is traced for `shapes`, and takes along what stands beside
    /// its weights ([`PreTrained::assets`]).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if no `config.json` does.
    pub fn new(model: &PreTrained, shapes: &Shapes) -> Result<Self> {
        let mut archive = Self::without_digest(model, shapes)?;
        archive.metadata.weights_sha256 = weights_sha256(&shared(model.parameters())?)?;
        Ok(archive)
    }

    /// Describes a model, all but the digest of its weights, which takes a while.
    pub(crate) fn without_digest(model: &PreTrained, shapes: &Shapes) -> Result<Self> {
        let (config, assets) = (model.config().clone(), model.assets()?);
        if assets.get(CONFIG_FILE).is_none() {
            let message = format!("found no {CONFIG_FILE} beside the weights of the model");
            return Err(Error::new(ErrorKind::InvalidInput, message).at("assets"));
        }
        let files = assets.names().map(str::to_owned).collect();
        Ok(Self { metadata: Metadata::new(model, shapes, files), config, assets })
    }

    /// Adds the digest of the program's weights.
    pub(crate) fn with_digest_of(mut self, script: &ScriptModule) -> Result<Self> {
        let named = script.named_tensors()?.into_iter().filter(|named| named.is_parameter);
        let parameters: Vec<_> = named.map(|named| (named.name, named.tensor)).collect();
        self.metadata.weights_sha256 = weights_sha256(&shared(&parameters)?)?;
        Ok(self)
    }

    /// Writes the program and the files beside it to `path`, whole or not at
    /// all, once its code is known to hold no device, shape or constant.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if `path` is something other than a regular file,
    /// [`ErrorKind::Io`], or [`ErrorKind::Verification`] with the line of code.
    pub fn save(&self, script: &ScriptModule, path: impl AsRef<Path>) -> Result<()> {
        atomic_file::write(path.as_ref(), |temporary| self.write(script, temporary))
    }

    /// Writes to a path that is not the final one.
    pub(crate) fn write(&self, script: &ScriptModule, temporary: &Path) -> Result<()> {
        let metadata = self.metadata.to_json()?;
        let mut files: Vec<(&str, &[u8])> = vec![(METADATA_FILE, &metadata)];
        files.extend(self.assets.iter());
        // The place is the final path, which the caller knows.
        let failed = || Error::new(ErrorKind::Io, "cannot write the archive");
        let file = File::create(temporary).map_err(|error| failed().because(error))?;
        let buffered = BufWriter::with_capacity(1 << 20, file);
        script.save(buffered, &files).map_err(|error| match error.into_source() {
            Ok(cause) => failed().because(cause),
            Err(error) => Error::from(error),
        })?;
        self.scan(&mut ArchiveReader::open(temporary)?)?;
        // libtorch prints code into streams, which keep quiet when memory runs out: code
        // may have been cut off.
        ScriptModule::check_file(temporary).map_err(|error| match Error::from(error) {
            error if error.kind() == ErrorKind::OutOfMemory => error,
            error => Error::new(ErrorKind::Io, "what was written does not load").because(error),
        })
    }

    fn scan(&self, reader: &mut ArchiveReader<impl Read + Seek>) -> Result<()> {
        let model = self.config.model(self.metadata.architecture()?)?;
        for name in reader.records()? {
            if name.starts_with("code/") && name.ends_with(".py") {
                let code = reader.record(&name)?.unwrap_or_default();
                scan_code(&name, &String::from_utf8_lossy(&code), &model, &self.metadata.shapes)?;
            }
        }
        Ok(())
    }
}

impl Metadata {
    fn new(model: &PreTrained, shapes: &Shapes, files: Vec<String>) -> Self {
        let config = model.config();
        let dtype = model.dtype();
        let input = |name: &str, dtypes: &[&str], required| InputInfo {
            name: name.to_owned(),
            dtypes: dtypes.iter().map(|&dtype| dtype.to_owned()).collect(),
            shape: symbols(model.architecture().input_shape()),
            required,
        };
        let outputs = model.outputs().into_iter().map(|output| OutputInfo {
            name: output.name,
            dtype: dtype.name().to_owned(),
            shape: symbols(&output.shape),
        });
        let parameters = model.parameters();
        let ties = &model.report().ties;
        let count = |name: &str| {
            let found = parameters.iter().find(|(known, _)| known == name);
            found.map_or(0, |(_, tensor)| tensor.numel() as u64)
        };
        let targets = |pairs: &[[String; 2]]| pairs.iter().map(|pair| count(&pair[1])).sum::<u64>();
        let parameter_count = model.parameter_count();
        let groups =
            |pairs: &[[String; 2]]| pairs.iter().map(|pair| pair.to_vec()).collect::<Vec<_>>();
        let has_labels = model.architecture().has_labels();
        Self {
            format_version: FORMAT_VERSION,
            bertscript_version: env!("CARGO_PKG_VERSION").to_owned(),
            torch_version: torchscript::torch_version().to_owned(),
            architecture: model.architecture().name(),
            attention: model.attention().name().to_owned(),
            dtype: dtype.name().to_owned(),
            inputs: vec![
                input("input_ids", &["int64", "int32"], true),
                input("attention_mask", &["int64", "int32", "bool"], false),
                input("token_type_ids", &["int64", "int32"], false),
            ],
            outputs: outputs.collect(),
            limits: Limits::of(config),
            shapes: shapes.clone(),
            labels: if has_labels { config.labels().to_vec() } else { Vec::new() },
            problem_type: config.problem_type.clone().filter(|_| has_labels),
            tied_groups: groups(&ties.tied),
            untied_groups: groups(&ties.untied),
            tie_bytes: targets(&[&ties.tied[..], &ties.untied].concat()) * dtype.size() as u64,
            parameter_count,
            parameter_bytes: parameter_count * dtype.size() as u64,
            weights_sha256: String::new(),
            files,
        }
    }
}

/// The same tensors of libtorch's, over the same memory.
fn shared(parameters: &[(String, tch::Tensor)]) -> Result<Vec<(String, Tensor)>> {
    let shared = |(name, tensor): &(String, tch::Tensor)| {
        Ok((name.clone(), tensor.shallow_clone().try_into()?))
    };
    parameters.iter().map(shared).collect()
}
