//! What only the kernel knows and no safe crate asks it for. The one room that may hold unsafe code; each block says why
//! it is sound. Nothing here decides anything or changes anything in the system.

use std::io;
use std::time::Duration;

/// What the kernel says of its clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KernelClock {
    /// Whether some time service holds it synchronised.
    pub is_synchronised: bool,
    /// The most it can be wrong, as far as the kernel knows.
    pub max_error: Duration,
}

/// Reads the state of the kernel's clock (`adjtimex` without any mode).
///
/// # Errors
/// Where the system does not have it or does not tell.
#[cfg(target_os = "linux")]
pub fn kernel_clock() -> io::Result<KernelClock> {
    #[expect(
        unsafe_code,
        reason = "all-zero bytes are a valid `timex`: it holds integers only, and modes 0 means read"
    )]
    // SAFETY: `timex` is a C struct of integers.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    #[expect(unsafe_code, reason = "a system call that writes into a struct this function owns")]
    // SAFETY: the pointer is to a live, exclusively borrowed `timex`; the kernel keeps no reference to it.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    let is_synchronised = state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0;
    let micros = u64::try_from(timex.maxerror).unwrap_or(0);
    Ok(KernelClock { is_synchronised, max_error: Duration::from_micros(micros) })
}

/// Reads the state of the kernel's clock.
///
/// # Errors
/// Always: not known how on this system.
#[cfg(not(target_os = "linux"))]
pub fn kernel_clock() -> io::Result<KernelClock> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_answers_or_says_why_not() {
        match kernel_clock() {
            // The kernel lets the error grow to 16 s and then says unsynchronised.
            Ok(clock) => assert!(clock.max_error <= Duration::from_secs(3_600), "{clock:?}"),
            Err(error) => {
                assert!(matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported), "{error}")
            }
        }
    }
}
