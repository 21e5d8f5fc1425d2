//! Images: from a workspace to blobs that the publisher can upload.
//!
//! [`context`] packs what the engine builds from, [`build`] builds, [`export`] takes the image apart, [`publish`]
//! hands it over and waits for the answer, [`reference`] names it, [`place`] says where a build failed.

pub(crate) mod build;
pub(crate) mod context;
pub(crate) mod export;
pub(crate) mod ignore;
pub(crate) mod place;
pub(crate) mod publish;
pub(crate) mod reference;
