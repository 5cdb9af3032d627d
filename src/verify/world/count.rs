//! What tenants have, by the verifier's own count.

use std::collections::HashMap;

use sqlx::PgConnection;

use super::{World, names};
use crate::verify::keys;
use crate::verify::model::{ExceptionKind, Oid, Relation};
use crate::verify::script::{self, Kind, Probe};
use crate::verify::session::fill;

/// What a tenant has in a relation, by the verifier's count.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Count {
    pub(crate) own: i64,
    /// Own rows that the roles are meant to see.
    pub(crate) visible: i64,
    pub(crate) shared: i64,
}

impl World<'_> {
    /// Counts every small relation's rows per tenant that a context is taken for:
    /// one query a relation where its key is a column and RLS does not bind the verifier.
    pub(crate) async fn count(&mut self, conn: &mut PgConnection) -> anyhow::Result<()> {
        let mut probes = vec![Probe::new()];
        let mut asked = Vec::new();
        for relation in self.relations() {
            if !keys::owned(relation) || self.by_place(relation) {
                continue;
            }
            if let Some(sql) = self.grouping(relation).filter(|_| self.unbound()) {
                asked.push((relation.oid, None, 0, probes[0].step(Kind::Look, sql)));
                continue;
            }
            for tenant in self.watched() {
                let id = &self.stage.tenants[tenant].id;
                let Some(sql) = self.counting(relation, id) else {
                    continue;
                };
                let mut probe = Probe::new();
                if !self.unbound() {
                    self.look_as(&mut probe, tenant);
                }
                let place = probe.step(Kind::Query, sql);
                asked.push((relation.oid, Some(tenant), probes.len(), place));
                probes.push(probe);
            }
        }
        let answers = script::run(conn, &probes, self.budget).await?;
        self.counts.clear();
        for (relation, tenant, probe, place) in asked {
            let text = answers.get(probe).and_then(|answer| answer.text(place));
            let Some(text) = text.filter(|text| !text.starts_with('!')) else {
                continue;
            };
            match tenant {
                Some(tenant) => {
                    let numbers: Vec<i64> =
                        text.split(' ').filter_map(|n| n.parse().ok()).collect();
                    if let [own, visible, shared] = numbers[..] {
                        self.counts.insert(
                            (relation, tenant),
                            Count {
                                own,
                                visible,
                                shared,
                            },
                        );
                    }
                }
                None => self.grouped(relation, text),
            }
        }
        Ok(())
    }

    /// Counts per tenant in one pass.
    fn grouping(&self, relation: &Relation) -> Option<String> {
        let (column, _) = keys::key(relation)?;
        // What speaks of the tenant or its user differs from one to the next.
        let of = |id: &str| Some(fill(relation.visible.as_deref()?, id, Some(id)));
        if of("a") != of("b") {
            return None;
        }
        let visible = self.visible(relation, "");
        Some(format!(
            "select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(kinedb_key, kinedb_own, kinedb_visible))::text from \
             (select {0}.{column}::text as kinedb_key, count(*) as kinedb_own, count(*) filter (where {visible}) as kinedb_visible \
             from {0} group by 1) as kinedb_counts",
            relation.name
        ))
    }

    fn grouped(&mut self, relation: Oid, text: &str) {
        let groups: Vec<(Option<String>, i64, i64)> =
            serde_json::from_str(text).unwrap_or_default();
        let shared: i64 = groups
            .iter()
            .filter(|(key, _, _)| key.is_none())
            .map(|(_, own, _)| own)
            .sum();
        let of: HashMap<&str, (i64, i64)> = groups
            .iter()
            .filter_map(|(key, own, visible)| Some((key.as_deref()?, (*own, *visible))))
            .collect();
        for tenant in self.watched() {
            let (own, visible) = of
                .get(self.stage.tenants[tenant].id.as_str())
                .copied()
                .unwrap_or_default();
            self.counts.insert(
                (relation, tenant),
                Count {
                    own,
                    visible,
                    shared,
                },
            );
        }
    }

    fn counting(&self, relation: &Relation, id: &str) -> Option<String> {
        let own = keys::own(self.scope, relation, id, None)?;
        let shared = keys::shared(relation).unwrap_or("false".to_owned());
        let visible = self.visible(relation, id);
        Some(format!(
            "select pg_catalog.concat_ws(' ', count(*) filter (where {own}), \
             count(*) filter (where {own} and ({visible})), \
             count(*) filter (where {shared})) from {}",
            relation.name
        ))
    }

    /// Which own rows the roles are meant to see.
    pub(crate) fn visible(&self, relation: &Relation, tenant: &str) -> String {
        let mut parts = vec!["true".to_owned()];
        let user = self.scope.users.of(tenant);
        parts.extend(
            relation
                .visible
                .iter()
                .map(|predicate| format!("({})", fill(predicate, tenant, user.as_deref()))),
        );
        for exception in &self.scope.exceptions {
            if exception.kind == ExceptionKind::HiddenRows
                && !exception.expired
                && names(relation, &exception.object)
            {
                parts.push(match &exception.filter {
                    Some(filter) => format!("(({filter}) is not true)"),
                    None => "false".to_owned(),
                });
            }
        }
        parts.join(" and ")
    }

    /// The count, where one was made.
    pub(crate) fn counted(&self, relation: &Relation, tenant: usize) -> Option<Count> {
        self.counts.get(&(relation.oid, tenant)).copied()
    }
}
