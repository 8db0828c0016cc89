"""The business of orders: values, state tables and aggregates. attrs and the standard library only."""
