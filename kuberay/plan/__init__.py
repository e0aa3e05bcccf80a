"""What a change would do, take and lack, before it is made. Pure."""
