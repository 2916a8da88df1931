"""From names to components: finding plugins, building components from tables, and what their results depend on."""
