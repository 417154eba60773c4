"""The timers of the cluster profile: a PyFlink job that folds envelopes and tells on a topic which streams are due."""
