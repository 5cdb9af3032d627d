-- {message}
-- Runs in one transaction that kinedb opens; no BEGIN or COMMIT here. An empty file is refused.
set local role kine_owner;

