/** What executables are built for. */
import type { Architecture } from "../../ffi/build.ts";

export type Platform = `linux-${Architecture}`;

export const PLATFORMS: readonly Platform[] = ["linux-x64", "linux-arm64"];

export const architectureOf = (platform: Platform): Architecture =>
  platform.slice("linux-".length) as Architecture;

/** The platform of this machine. Throws where nothing is built for it. */
export function thisPlatform(): Platform {
  const own = PLATFORMS.find((platform) => platform === `${process.platform}-${process.arch}`);
  if (own) return own;
  throw new Error(`rfaas is built for ${PLATFORMS.join(" and ")} only`);
}
