//! On which device tensors live, and in which precision.

use candle_core::{DType, Device};

use crate::error::{Error, Result};

/// A device and a floating-point type, chosen once.
#[derive(Debug, Clone)]
pub struct Compute {
    /// Where tensors live.
    pub device: Device,
    /// F32, or F64 for tests.
    pub dtype: DType,
}

impl Compute {
    /// The CPU in f32.
    pub fn cpu() -> Self {
        Self { device: Device::Cpu, dtype: DType::F32 }
    }

    /// The device called `cpu`, `cuda` (the first one) or `cuda:N`, in f32.
    pub fn parse(name: &str) -> Result<Self> {
        let ordinal = match name {
            "cpu" => return Ok(Self::cpu()),
            "cuda" => Some(0),
            _ => name.strip_prefix("cuda:").and_then(|ordinal| ordinal.parse().ok()),
        };
        let Some(ordinal) = ordinal else {
            return Err(Error::config(
                format!("device = \"{name}\""),
                "is not the name of a device",
                "`cpu` or `cuda:N` with N from 0",
            ));
        };
        match cuda(ordinal) {
            Ok(device) => Ok(Self { device, dtype: DType::F32 }),
            Err(reason) => {
                let present: Vec<String> = devices().into_iter().map(|(name, _)| name).collect();
                Err(Error::Device { requested: name.into(), reason, present: present.join(", ") })
            }
        }
    }

    /// The same device in f64.
    pub fn in_f64(self) -> Self {
        Self { dtype: DType::F64, ..self }
    }

    /// Does the fused executor serve it? It does on the host in f32.
    pub fn is_fused(&self) -> bool {
        self.is_cpu() && self.dtype == DType::F32
    }

    /// Is it the host?
    pub fn is_cpu(&self) -> bool {
        matches!(self.device, Device::Cpu)
    }
}

/// Every device that this build can use on this machine, by name.
pub fn devices() -> Vec<(String, Compute)> {
    let mut devices = vec![("cpu".to_string(), Compute::cpu())];
    for ordinal in 0.. {
        let Ok(device) = cuda(ordinal) else { break };
        devices.push((format!("cuda:{ordinal}"), Compute { device, dtype: DType::F32 }));
    }
    devices
}

fn cuda(ordinal: usize) -> std::result::Result<Device, String> {
    if !cfg!(feature = "cuda") {
        return Err("this build has no CUDA support; build with `--features cuda`".into());
    }
    // `cuda_is_available` of candle only tells how it was built, so the device itself is tried.
    Device::new_cuda(ordinal).map_err(|error| error.to_string().lines().next().unwrap_or_default().into())
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::Tensor(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_device_is_an_error_that_lists_those_present() {
        assert!(Compute::parse("cpu").unwrap().is_cpu());
        let error = Compute::parse("cuda:99").unwrap_err();
        assert_eq!(error.kind(), "device");
        let message = error.to_string();
        assert!(message.contains("cuda:99") && message.contains("present: cpu"), "{message}");
        if !cfg!(feature = "cuda") {
            assert!(message.contains("no CUDA support"), "{message}");
        }
        for name in ["gpu", "cuda:", "cuda:x", ""] {
            assert_eq!(Compute::parse(name).unwrap_err().kind(), "config", "{name}");
        }
    }

    #[test]
    fn the_devices_present_can_be_asked_for_by_name() {
        for (name, compute) in devices() {
            assert_eq!(Compute::parse(&name).unwrap().is_cpu(), compute.is_cpu());
        }
    }
}
