/** What executables are built for. */

export type Platform = "linux-x64" | "linux-arm64";

export const PLATFORMS: readonly Platform[] = ["linux-x64"];
