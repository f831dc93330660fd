-- A proven recovery of an administrator may wait; vouchers are kept by id beside their name (`approvals` holds texts and
-- objects).

ALTER TABLE recoveries ADD COLUMN ready_at INTEGER;

PRAGMA user_version = 6;
