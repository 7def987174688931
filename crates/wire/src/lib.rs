//! AWS's wire protocols. An operation is a type ([`Operation`]); its members are shapes ([`Shape`]); a service is a
//! table of routes ([`Service`], [`Route`]); [`Router`] finds the operation of an HTTP request, decodes, authorizes,
//! runs and encodes it, once for every protocol. This crate alone spells ARNs and knows wire formats.

extern crate self as wire;

mod arn;
mod error;
pub mod event_stream;
mod host;
mod http_binding;
mod in_process;
mod node;
mod operation;
pub mod post_form;
mod protocol;
mod router;
mod scope;
mod shape;
pub mod sigv2;
pub mod sigv4;
mod storage;
pub mod tags;
mod witness;

pub use arn::Arn;
pub use error::Error;
pub use host::{AWS_DOMAINS, AwsHost, is_aws_host};
pub use http_binding::Http;
pub use in_process::Call;
pub use node::Node;
pub use operation::{
    Ask, Authorizer, Caller, CallerKind, Context, Keys, Operation, Permission, ResourceFacts,
    Route, Service, Unbuilt,
};
pub use protocol::xml::document as read_xml;
pub use protocol::{Protocol, form as read_form};
pub use regex::Regex;
pub use router::{
    Body, ByteStream, Found, Mount, Profile, Reply, Router, Row, Settled, describe, refuse,
    schema_of, unserved,
};
pub use scope::{AccountId, Region, Scope};
pub use shape::{
    Blob, Decoder, List, Member, Members, Schema, Shape, Timestamp, Undecodable,
    broken_text_constraints,
};
pub use storage::{
    BodyFault, Signed, Storage, StorageReply, StorageRequest, Trailers, bucket_in_host, escaped,
    storage_error, website_in_host,
};
pub use wire_derive::Shape;
pub use witness::{Effect, Refused, Seen, Touched, Witness};
