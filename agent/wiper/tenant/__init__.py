"""Who a tenant is on this machine, and what runs, opens or starts in his name."""
