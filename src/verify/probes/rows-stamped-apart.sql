-- title: rows carry another tenant than the row they refer to
-- severity: error
-- why: A reference crosses tenants in the data of today: joins show it, cascades delete across.
-- bad: foreign key (room_id) references rooms (id)
-- good: foreign key (tenant_id, room_id) references rooms (tenant_id, id)
-- fix: Repair the rows, then let the foreign key start with the tenant.
-- source: -
{statement}
