"""The findings of the Switch paper at a size that two cores train in minutes."""
