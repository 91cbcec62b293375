//! Stage 2: is it from whom it says it is? The only maker of [`Verified`].

pub mod scheme;
