//! The records that the control plane's members keep in the store: which machine is which member, and where.

use futures::future::try_join_all;
use kcl_node_config::{ConfigError, MemberRecord};

use crate::store::{Store, StoreError};

/// The records of all members but `own`, as far as there are some, in the members' order.
pub(crate) async fn of_others<E>(store: &Store, members: &[String], own: &str) -> Result<Vec<MemberRecord>, E>
where
    E: From<StoreError> + From<ConfigError>,
{
    let others = members.iter().filter(|member| *member != own);
    let records = try_join_all(others.map(async |member| {
        let object = store.get(&MemberRecord::path(member)).await?;
        Ok::<_, E>(object.map(|object| MemberRecord::read(member, &object.bytes)).transpose()?)
    }));
    Ok(records.await?.into_iter().flatten().collect())
}
