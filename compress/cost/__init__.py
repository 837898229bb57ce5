"""What a subnet costs, one file a cost, without building it."""
