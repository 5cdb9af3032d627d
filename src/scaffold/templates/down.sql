-- Undoes: {message}
-- If that cannot be done, leave one line instead:  -- kinedb: irreversible: the reason
set local role kine_owner;

