-- When a device was given to its order: what nobody ended goes after some weeks. Rows of before count from now on.
ALTER TABLE order_device ADD COLUMN assigned_at timestamptz NOT NULL DEFAULT now();
