//! Which of a list: the queries of the document. What is `None` is left out.

use serde::Serialize;

/// Queries, whose fields are parameters of the document's names.
macro_rules! queries {
    ($($(#[$attr:meta])* pub struct $name:ident {
        $($(#[$of:meta])* pub $field:ident: $type:ty,)*
    })*) => {
        $($(#[$attr])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize)]
        pub struct $name {
            $($(#[$of])* pub $field: Option<$type>,)*
        }

        #[cfg(test)]
        impl $name {
            pub(crate) const FIELDS: &'static [&'static str] = &[$(stringify!($field)),*];
        })*
    };
}

queries! {
    /// Which calls of the audit trail.
    pub struct AuditQuery {
        /// Those after this number.
        pub after: i64,
        /// At most so many in a page.
        pub limit: u32,
        /// `done`, `refused` or `failed`.
        pub outcome: String,
        /// Those of this principal.
        pub principal: String,
        /// That of this request.
        pub request_id: String,
    }

    /// Which events of all streams.
    pub struct EventQuery {
        /// Those after this position.
        pub after: i64,
        /// At most so many in a page; without meaning for a stream.
        pub limit: u32,
        /// Those of this stream, such as `job.{id}`.
        pub stream: String,
        /// Those of this type, such as `EXECUTION_COMPLETED`.
        #[serde(rename = "type")]
        pub kind: String,
    }

    /// Which of a list whose cursor is a number.
    pub struct ListQuery {
        /// `next` of the page before.
        pub after: i64,
        /// At most so many in a page.
        pub limit: u32,
    }

    /// Which of a list whose cursor is a name.
    pub struct NamedQuery {
        /// `next` of the page before.
        pub after: String,
        /// At most so many in a page.
        pub limit: u32,
    }

    /// Which records of a robot's journal.
    pub struct RecordQuery {
        /// Those after this cursor.
        pub after: i64,
        /// `critical`, `normal` or `bulk`.
        pub class: String,
        /// Such as `verdict`.
        pub kind: String,
        /// At most so many in a page.
        pub limit: u32,
    }

    /// Which roll-outs.
    pub struct RolloutQuery {
        /// `next` of the page before.
        pub after: i64,
        /// At most so many in a page.
        pub limit: u32,
        /// Those of this skill.
        pub skill: String,
    }

    /// Which published versions.
    pub struct SkillQuery {
        /// `next` of the page before.
        pub after: String,
        /// Those of this developer.
        pub developer: String,
        /// Those of this skill.
        pub id: String,
        /// At most so many in a page.
        pub limit: u32,
        /// Those whose id or name holds this text.
        pub q: String,
        /// Those that are, or are not, revoked.
        pub revoked: bool,
        /// Those of this tier.
        pub tier: String,
    }

    /// Which facts of one stream.
    pub struct StreamQuery {
        /// Those after this place in the stream.
        pub after: u64,
    }
}
