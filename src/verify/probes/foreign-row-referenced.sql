-- title: a reference can lead to a row of another tenant
-- severity: error
-- why: A foreign key is checked without row level security: whether the key exists can be learned, the row cannot be deleted by its owner any more, and joins may cross.
-- bad: foreign key (room_id) references rooms (id)
-- good: foreign key (tenant_id, room_id) references rooms (tenant_id, id)
-- fix: Let the foreign key start with the tenant on both sides.
-- source: PostgreSQL manual, 5.8: referential integrity checks bypass row security
{statement}
