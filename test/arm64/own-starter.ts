/** Loaded before a test that Bun for arm64 runs: what the test starts with its own Bun starts in the emulator, too. */
process.execPath = process.env["RFAAS_TEST_BUN"]!;
