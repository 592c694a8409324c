//! The kernel's numbers for nf_tables messages and attributes.

/// `NFNL_SUBSYS_NFTABLES`.
pub(crate) const SUBSYSTEM: u16 = 10;
/// `struct nfgenmsg` for the family `inet`.
pub(crate) const INET: [u8; 4] = [1, 0, 0, 0];
/// Its length.
pub(crate) const FIXED: usize = 4;

/// `NFT_MSG_…`.
pub(crate) mod message {
    use super::SUBSYSTEM;

    pub(crate) const GET_TABLE: u16 = SUBSYSTEM << 8 | 1;
    pub(crate) const NEW_CHAIN: u16 = SUBSYSTEM << 8 | 3;
    pub(crate) const GET_CHAIN: u16 = SUBSYSTEM << 8 | 4;
    pub(crate) const DELETE_CHAIN: u16 = SUBSYSTEM << 8 | 5;
    pub(crate) const NEW_RULE: u16 = SUBSYSTEM << 8 | 6;
    pub(crate) const GET_RULE: u16 = SUBSYSTEM << 8 | 7;
    pub(crate) const DELETE_RULE: u16 = SUBSYSTEM << 8 | 8;
    pub(crate) const GET_SET: u16 = SUBSYSTEM << 8 | 10;
    pub(crate) const NEW_ELEMENTS: u16 = SUBSYSTEM << 8 | 12;
    pub(crate) const GET_ELEMENTS: u16 = SUBSYSTEM << 8 | 13;
    pub(crate) const DELETE_ELEMENTS: u16 = SUBSYSTEM << 8 | 14;
    /// A transaction has ended; it names no table.
    pub(crate) const NEW_GENERATION: u16 = SUBSYSTEM << 8 | 15;
    pub(crate) const GET_GENERATION: u16 = SUBSYSTEM << 8 | 16;
    pub(crate) const NEW_OBJECT: u16 = SUBSYSTEM << 8 | 18;
    pub(crate) const GET_OBJECT: u16 = SUBSYSTEM << 8 | 19;
    pub(crate) const DELETE_OBJECT: u16 = SUBSYSTEM << 8 | 20;
}

/// The attribute that names the table, in every message about a table or something in one.
pub(crate) const TABLE: u16 = 1;
/// The attribute that names the set, in messages about elements.
pub(crate) const SET: u16 = 2;

/// `NFTA_TABLE_…`.
pub(crate) mod table {
    pub(crate) const FLAGS: u16 = 2;
}

/// `NFTA_CHAIN_…`: what we choose of a chain.
pub(crate) mod chain {
    pub(crate) const NAME: u16 = 3;
    pub(crate) const HOOK: u16 = 4;
    pub(crate) const POLICY: u16 = 5;
    pub(crate) const TYPE: u16 = 7;
}

/// `NFTA_OBJ_…`, and `NFTA_COUNTER_…` of what a counter holds.
pub(crate) mod object {
    pub(crate) const NAME: u16 = 2;
    pub(crate) const KIND: u16 = 3;
    pub(crate) const CONTENT: u16 = 4;
    /// `NFT_OBJECT_COUNTER`.
    pub(crate) const COUNTER: u32 = 1;
    pub(crate) const PACKETS: u16 = 2;
}

/// `NFTA_RULE_…`.
pub(crate) mod rule {
    pub(crate) const CHAIN: u16 = 2;
    /// 64 bits: tells a rule from all others of its table.
    pub(crate) const HANDLE: u16 = 3;
    pub(crate) const EXPRESSIONS: u16 = 4;
    /// The handle of the rule that a new one comes before (with `NLM_F_APPEND`: after).
    pub(crate) const POSITION: u16 = 6;
}

/// `NFTA_EXPR_…`, and of each expression what we say of it.
pub(crate) mod expression {
    pub(crate) const NAME: u16 = 1;
    pub(crate) const BODY: u16 = 2;
    pub(crate) const META_TO: u16 = 1;
    pub(crate) const META_WHAT: u16 = 2;
    pub(crate) const PAYLOAD_TO: u16 = 1;
    pub(crate) const PAYLOAD_BASE: u16 = 2;
    pub(crate) const PAYLOAD_OFFSET: u16 = 3;
    pub(crate) const PAYLOAD_LENGTH: u16 = 4;
    pub(crate) const BITWISE_FROM: u16 = 1;
    pub(crate) const BITWISE_TO: u16 = 2;
    pub(crate) const BITWISE_LENGTH: u16 = 3;
    pub(crate) const BITWISE_MASK: u16 = 4;
    pub(crate) const BITWISE_XOR: u16 = 5;
    pub(crate) const CMP_FROM: u16 = 1;
    pub(crate) const CMP_HOW: u16 = 2;
    pub(crate) const CMP_WITH: u16 = 3;
    pub(crate) const LOOKUP_SET: u16 = 1;
    pub(crate) const LOOKUP_FROM: u16 = 2;
    pub(crate) const LOOKUP_TO: u16 = 3;
    pub(crate) const OBJECT_KIND: u16 = 1;
    pub(crate) const OBJECT_NAME: u16 = 2;
    pub(crate) const OBJECT_FROM: u16 = 3;
    pub(crate) const OBJECT_SET: u16 = 4;
    pub(crate) const IMMEDIATE_TO: u16 = 1;
    pub(crate) const IMMEDIATE_DATA: u16 = 2;
}

/// `NFT_REG_…`: where instructions hand each other values.
pub(crate) mod register {
    pub(crate) const VERDICT: u32 = 0;
    /// 16 bytes.
    pub(crate) const FIRST: u32 = 1;
    /// The first 4 bytes of the same; the next number is the next 4.
    pub(crate) const FIRST_SLOT: u32 = 8;
}

/// `NFTA_SET_…`: what we choose of a set.
pub(crate) mod set {
    pub(crate) const NAME: u16 = 2;
    pub(crate) const FLAGS: u16 = 3;
    pub(crate) const KEY_TYPE: u16 = 4;
    pub(crate) const KEY_LENGTH: u16 = 5;
    pub(crate) const DATA_TYPE: u16 = 6;
    pub(crate) const TIMEOUT: u16 = 11;
}

/// `NFTA_SET_ELEM_…` and what they are packed in.
pub(crate) mod element {
    /// `NFTA_SET_ELEM_LIST_ELEMENTS`.
    pub(crate) const LIST: u16 = 3;
    /// `NFTA_LIST_ELEM`.
    pub(crate) const ONE: u16 = 1;
    pub(crate) const KEY: u16 = 1;
    pub(crate) const DATA: u16 = 2;
    pub(crate) const FLAGS: u16 = 3;
    pub(crate) const EXPIRATION: u16 = 5;
    pub(crate) const OBJECT: u16 = 9;
    pub(crate) const KEY_END: u16 = 10;
    /// `NFT_SET_ELEM_INTERVAL_END`: not an element, but the first value behind one.
    pub(crate) const FLAG_END: u32 = 1;
    /// `NFTA_DATA_VALUE`, `NFTA_DATA_VERDICT`.
    pub(crate) const VALUE: u16 = 1;
    pub(crate) const VERDICT: u16 = 2;
    /// `NFTA_VERDICT_CODE`, `NFTA_VERDICT_CHAIN`.
    pub(crate) const CODE: u16 = 1;
    pub(crate) const CHAIN: u16 = 2;
    /// `NFT_JUMP`, `NFT_GOTO`.
    pub(crate) const JUMP: i32 = -3;
    pub(crate) const GOTO: i32 = -4;
    /// `NFT_RETURN`.
    pub(crate) const RETURN: i32 = -5;
}

/// `NFTA_GEN_…`.
pub(crate) mod generation {
    pub(crate) const ID: u16 = 1;
    pub(crate) const PROCESS: u16 = 2;
    pub(crate) const NAME: u16 = 3;
}
