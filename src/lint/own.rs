//! The names of our own rules, with what each is for.

use super::{Rule, Weight};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "rls-disabled",
        weight: Weight::Error,
        title: "row security is switched off",
        why: "from here on every role with a grant sees the rows of all tenants",
        fix: "leave it on; where a table has no tenant, say so in kinedb.toml with a reason",
    },
    Rule {
        id: "force-missing",
        weight: Weight::Error,
        title: "row security without FORCE",
        why: "the owner of the table is not bound, and neither is a function that belongs to it",
        fix: "alter table T force row level security",
    },
    Rule {
        id: "table-without-rls",
        weight: Weight::Error,
        title: "a new table with a tenant's column and no row security",
        why: "the first grant on it opens the rows of all tenants",
        fix: "give it a class: `kinedb revision --table T --class C` writes policies, FORCE and grants",
    },
    Rule {
        id: "policy-dropped",
        weight: Weight::Error,
        title: "a policy is dropped and none takes its place",
        why: "a restrictive policy narrowed what is seen; a permissive one gone hides rows from the product",
        fix: "create its successor in the same migration",
    },
    Rule {
        id: "policy-true",
        weight: Weight::Error,
        title: "a policy admits every row",
        why: "`true` compares nothing with the tenant of the session",
        fix: "compare the row's tenant: tenant_id = (select current_setting('app.tenant_id')::uuid)",
    },
    Rule {
        id: "grant-public",
        weight: Weight::Error,
        title: "a right is granted to everybody",
        why: "every login of the cluster, today's and tomorrow's, has it",
        fix: "grant it to the role that needs it",
    },
    Rule {
        id: "definer-search-path",
        weight: Weight::Error,
        title: "a security definer function without a search_path of its own",
        why: "who calls it decides which objects its names mean, and it acts with its owner's rights",
        fix: "add `set search_path = pg_catalog, pg_temp` and write names with their schema",
    },
    Rule {
        id: "view-security-invoker",
        weight: Weight::Error,
        title: "a view without security_invoker",
        why: "it reads with its owner's rights: the policies that apply are the owner's",
        fix: "create view V with (security_invoker = true, security_barrier = true) as ..",
    },
    Rule {
        id: "foreign-key-tenant",
        weight: Weight::Error,
        title: "a reference without the tenant",
        why: "a row can point at another tenant's row, and learn from the error whether it exists",
        fix: "reference (tenant_id, id) by (tenant_id, ..)",
    },
    Rule {
        id: "unique-tenant",
        weight: Weight::Error,
        title: "a unique value without the tenant",
        why: "one tenant's value refuses another's, which tells that it exists",
        fix: "let the key begin with tenant_id",
    },
    Rule {
        id: "transaction-control",
        weight: Weight::Error,
        title: "a migration ends or opens a transaction",
        why: "the engine opens it, proves isolation in it, and commits it with its history",
        fix: "remove begin, commit and rollback; what cannot run in one needs `-- kinedb: no-transaction`",
    },
    Rule {
        id: "hidden-drift",
        weight: Weight::Warning,
        title: "`if not exists` hides what is there already",
        why: "an object of that name and another form is taken for the right one",
        fix: "write it without; a migration knows the state that it starts from",
    },
];
