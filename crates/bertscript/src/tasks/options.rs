//! Options that tasks have in common.

use crate::error::{Error, ErrorKind, Result};
use std::str::FromStr;
use std::sync::Arc;
#[cfg(test)]
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::{AtomicBool, Ordering};

/// What becomes of a text that is longer than the model takes. Nothing is cut
/// unseen: results say what was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LongTexts {
    /// It is truncated.
    #[default]
    Truncate,
    /// It is an error.
    Refuse,
    /// It is cut into windows, and the windows' results are brought together.
    Window,
}

impl FromStr for LongTexts {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "truncate" => Self::Truncate,
            "refuse" => Self::Refuse,
            "window" => Self::Window,
            _ => {
                let message =
                    format!("unknown choice {text:?}, expected truncate, refuse or window");
                return Err(Error::new(ErrorKind::InvalidInput, message));
            }
        })
    }
}

/// Stops a task from another thread. Clones belong together.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    asked: Arc<AtomicBool>,
    /// After how many looks it is cancelled.
    #[cfg(test)]
    looks: Option<Arc<AtomicUsize>>,
}

impl Cancel {
    /// Asks the task to stop before its next batch, with
    /// [`ErrorKind::Cancelled`].
    pub fn cancel(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked.
    pub fn is_cancelled(&self) -> bool {
        #[cfg(test)]
        if self.looks.as_ref().is_some_and(|looks| looks.fetch_sub(1, Ordering::Relaxed) == 1) {
            self.cancel();
        }
        self.asked.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
impl Cancel {
    /// Is cancelled when it is looked at for this time, from 1.
    pub(super) fn at_look(number: usize) -> Self {
        Self { asked: Arc::default(), looks: Some(Arc::new(AtomicUsize::new(number))) }
    }
}
