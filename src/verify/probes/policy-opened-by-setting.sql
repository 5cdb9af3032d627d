-- title: a setting that every session may set opens a policy to other tenants
-- severity: error
-- excepts: bypass-setting
-- why: A session gives settings of its own any value: what one of them opens is no protection, also where only a function compares it.
-- bad: if current_setting('app.support', true) = 'on' then return true; end if;  -- in a function that a policy calls
-- good: create policy support on patients for select to support_role using (true);
-- fix: Give whoever may see all tenants a role of its own, one that the application cannot become.
-- source: PostgreSQL manual, 20.16 Customized Options; 9.28.1 Configuration Settings Functions
{statement}
