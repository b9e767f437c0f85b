"""SeqIO tasks: importing a module registers its tasks; nothing imports all of them."""
