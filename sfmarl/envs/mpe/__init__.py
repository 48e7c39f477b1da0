"""mpe2's particle worlds, E at once: equal observations, rewards and endings from equal seeds."""

SCENARIOS = {
    "simple_adversary_v3": "adversary:SimpleAdversary",
    "simple_crypto_v3": "crypto:SimpleCrypto",
    "simple_push_v3": "push:SimplePush",
    "simple_reference_v3": "reference:SimpleReference",
    "simple_speaker_listener_v4": "speaker_listener:SimpleSpeakerListener",
    "simple_spread_v3": "spread:SimpleSpread",
    "simple_tag_v3": "tag:SimpleTag",
    "simple_world_comm_v3": "world_comm:SimpleWorldComm",
}
"""mpe2's module -> its counterpart in this package."""
