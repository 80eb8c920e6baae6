"""Retention: rules decide which tags stay; the plan of it is applied by the deletion of ``content.delete``, which checks again."""
