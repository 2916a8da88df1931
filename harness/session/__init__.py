"""The services behind the contract: journal, weights, components, costs, replay."""
