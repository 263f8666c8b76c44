//! The rotations of positions, for each base that layers have.

use crate::error::Result;
use crate::family::spec::Encoder;
use crate::memory::with_capacity;
use bertscript_kernels::Rope;
use std::sync::{Arc, Mutex, PoisonError};

/// Cosines and sines of as many positions as have been asked for.
#[derive(Debug)]
pub(super) struct RopeTables {
    thetas: Vec<f64>,
    head_dim: usize,
    known: Mutex<Rotations>,
}

/// Those of a batch.
#[derive(Debug, Clone, Default)]
pub(super) struct Rotations(Arc<Vec<(f64, Rope)>>);

impl RopeTables {
    pub(super) fn new(encoder: &Encoder) -> Self {
        let mut thetas: Vec<f64> = Vec::new();
        for theta in encoder.layers.iter().filter_map(|layer| layer.rope_theta) {
            if !thetas.contains(&theta) {
                thetas.push(theta);
            }
        }
        Self { thetas, head_dim: encoder.head_dim() as usize, known: Mutex::default() }
    }

    /// Of so many positions, at least.
    pub(super) fn of_positions(&self, positions: usize) -> Result<Rotations> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_long = |(_, rope): &(f64, Rope)| rope.positions() >= positions;
        if self.thetas.is_empty() || known.0.first().is_some_and(is_long) {
            return Ok(known.clone());
        }
        let mut ropes = with_capacity(self.thetas.len())?;
        for theta in &self.thetas {
            // Twice as many each time, so that they are seldom made.
            let positions = positions.next_power_of_two();
            ropes.push((*theta, Rope::new(*theta, self.head_dim, positions)?));
        }
        *known = Rotations(Arc::new(ropes));
        Ok(known.clone())
    }
}

impl Rotations {
    /// That of a base.
    pub(super) fn of(&self, theta: Option<f64>) -> Option<&Rope> {
        self.0.iter().find(|(known, _)| Some(*known) == theta).map(|(_, rope)| rope)
    }
}
