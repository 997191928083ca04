"""Pure formats of integrity: signed notes and checkpoints, tile addresses, receipts."""
