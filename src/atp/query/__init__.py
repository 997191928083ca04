"""Reading: search, lists, streams and the live tail, over a read model that is a projection of the feed."""
