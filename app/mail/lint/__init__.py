"""What a mail engineer would say about a mail before it leaves. Pure."""
