//! `Policy` and `Buckets`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use crate::bucket::{self, Charge, Rate, Refusal};

/// A rule for many buckets, one for each scope and key, and how often it allowed and refused.
#[pyclass(frozen, module = "fleetwire._core")]
pub(crate) struct Policy {
    #[pyo3(get)]
    name: String,
    #[pyo3(get)]
    quota: u32,
    #[pyo3(get)]
    period_micros: i64,
    #[pyo3(get)]
    burst: u32,
    #[pyo3(get)]
    within: Option<Py<Policy>>,
    rate: Rate,
    allowed: AtomicU64,
    refused: AtomicU64,
}

#[pymethods]
impl Policy {
    #[new]
    #[pyo3(signature = (name, *, quota, period_micros, burst, within=None))]
    fn new(name: String, quota: u32, period_micros: i64, burst: u32, within: Option<Py<Policy>>) -> PyResult<Self> {
        let rate = Rate::new(quota, period_micros, burst).ok_or_else(|| {
            PyValueError::new_err("quota, period and burst must be at least 1, burst * period at most 2^51")
        })?;
        if within.as_ref().is_some_and(|outer| outer.get().within.is_some()) {
            return Err(PyValueError::new_err("a policy lies within one other at most"));
        }
        let (allowed, refused) = <(AtomicU64, AtomicU64)>::default();
        Ok(Self { name, quota, period_micros, burst, within, rate, allowed, refused })
    }

    #[getter]
    fn allowed(&self) -> u64 {
        self.allowed.load(Ordering::Relaxed)
    }

    #[getter]
    fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    #[pyo3(signature = (*, allowed))]
    fn count(&self, allowed: bool) {
        let counter = if allowed { &self.allowed } else { &self.refused };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Policy {
    /// What a cost means: a charge of the key's bucket, and one of its scope's where this policy lies within another.
    fn charges(&self, table: &bucket::Buckets, scope: &str, key: &str, cost: u32) -> ([Charge; 2], usize) {
        let own = Charge { rate: self.rate, print: table.print(&self.name, scope, key), cost };
        self.within.as_ref().map_or(([own, own], 1), |outer| {
            let outer = outer.get();
            ([own, Charge { rate: outer.rate, print: table.print(&outer.name, scope, ""), cost }], 2)
        })
    }

    /// `index` says which of the charges was refused.
    fn count_refused(&self, index: usize) {
        self.within.as_ref().filter(|_| index > 0).map_or(self, |outer| outer.get()).count(false);
    }

    fn count_allowed(&self) {
        self.count(true);
        if let Some(outer) = &self.within {
            outer.get().count(true);
        }
    }
}

/// Token buckets by policy, scope and key.
#[pyclass(frozen, module = "fleetwire._core")]
pub(crate) struct Buckets {
    table: Mutex<bucket::Buckets>,
}

/// Takes of a batch whose memory is asked for before the first of them.
const TAKES_AHEAD: usize = 32;

/// The policy that refused, and the wait in microseconds.
type Refused = (Py<Policy>, i64);

#[pymethods]
impl Buckets {
    #[new]
    #[pyo3(signature = (*, max_keys))]
    fn new(max_keys: usize) -> PyResult<Self> {
        if max_keys == 0 {
            return Err(PyValueError::new_err("max_keys must be at least 1"));
        }
        Ok(Self { table: Mutex::new(bucket::Buckets::new(max_keys)) })
    }

    fn take(&self, policy: &Bound<'_, Policy>, scope: &str, key: &str, cost: u32, now_micros: i64) -> Option<Refused> {
        let outcome = {
            let mut table = self.table();
            let (charges, count) = policy.get().charges(&table, scope, key, cost);
            table.take(charges.get(..count).unwrap_or_default(), now_micros)
        };
        match outcome {
            Ok(()) => {
                policy.get().count_allowed();
                None
            }
            Err(refusal) => Some(refused(policy, refusal)),
        }
    }

    fn check(&self, policy: &Bound<'_, Policy>, scope: &str, key: &str, cost: u32, now_micros: i64) -> Option<Refused> {
        let outcome = {
            let table = self.table();
            let (charges, count) = policy.get().charges(&table, scope, key, cost);
            table.check(charges.get(..count).unwrap_or_default(), now_micros)
        };
        outcome.err().map(|refusal| refused(policy, refusal))
    }

    fn take_many(
        &self,
        policy: &Bound<'_, Policy>,
        scope: &str,
        keys: &Bound<'_, PyList>,
        cost: u32,
        now_micros: i64,
    ) -> PyResult<Vec<i64>> {
        let policy = policy.get();
        let mut waits = Vec::with_capacity(keys.len());
        let mut table = self.table();
        let mut block = Vec::with_capacity(TAKES_AHEAD);
        let mut keys = keys.iter();
        loop {
            block.clear();
            for key in keys.by_ref().take(TAKES_AHEAD) {
                let (charges, count) = policy.charges(&table, scope, key.cast::<PyString>()?.to_str()?, cost);
                table.fetch(charges[0].print);
                block.push((charges, count));
            }
            for (charges, count) in &block {
                match table.take(charges.get(..*count).unwrap_or_default(), now_micros) {
                    Ok(()) => {
                        policy.count_allowed();
                        waits.push(0);
                    }
                    Err(refusal) => {
                        policy.count_refused(refusal.index);
                        waits.push(refusal.wait_micros);
                    }
                }
            }
            if block.len() < TAKES_AHEAD {
                break;
            }
        }
        Ok(waits)
    }

    fn left(&self, policy: &Bound<'_, Policy>, scope: &str, key: &str, now_micros: i64) -> (i64, i64) {
        let (policy, table) = (policy.get(), self.table());
        let left = table.left(&policy.rate, table.print(&policy.name, scope, key), now_micros);
        (left.remaining, left.reset_micros)
    }

    fn settle(&self, policy: &Bound<'_, Policy>, scope: &str, key: &str, reset_micros: i64, now_micros: i64) {
        let mut table = self.table();
        let print = table.print(&policy.get().name, scope, key);
        table.settle(print, now_micros.saturating_add(reset_micros), now_micros);
    }

    fn drained(&self, now_micros: i64) -> usize {
        self.table().drained(now_micros)
    }

    #[getter]
    fn evicted(&self) -> u64 {
        self.table().evicted()
    }

    #[getter]
    fn size_bytes(&self) -> usize {
        self.table().size_bytes()
    }
}

impl Buckets {
    /// A poisoned lock is taken all the same: no Python runs under it, and a bucket is one number.
    fn table(&self) -> MutexGuard<'_, bucket::Buckets> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refused(policy: &Bound<'_, Policy>, refusal: Refusal) -> Refused {
    policy.get().count_refused(refusal.index);
    let own = || policy.clone().unbind();
    let by = policy.get().within.as_ref().filter(|_| refusal.index > 0);
    (by.map_or_else(own, |outer| outer.clone_ref(policy.py())), refusal.wait_micros)
}
