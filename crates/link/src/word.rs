//! Stable words of enums in the configuration, rows, logs, reports and metrics.
//!
//! Such an enum derives `strum::IntoStaticStr` with `serialize_all = "kebab-case"`; where words are read, `EnumString`; where
//! all values are walked, `VariantArray`; where a choice of the configuration is named, `VariantNames`.

/// A value with one stable word.
pub trait Word: Copy + Into<&'static str> {
    /// The stable word of the value.
    #[must_use]
    fn as_str(self) -> &'static str {
        self.into()
    }
}

impl<T: Copy + Into<&'static str>> Word for T {}
