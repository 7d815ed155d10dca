/** Which machines rfaas runs on, which package of npm has its executable for each, and what to tell the others. */
import { existsSync } from "node:fs";

export interface Machine {
  /** As `process.platform` and `process.arch` name them. */
  system: string;
  cpu: string;
  exists(path: string): boolean;
}

const THIS_MACHINE: Machine = {
  system: process.platform,
  cpu: process.arch,
  exists: existsSync,
};

interface Platform {
  /** The package of npm with executable and shim. */
  package: string;
  /** What starts programs that are linked with glibc. */
  glibcLoader: string;
  muslLoader: string;
}

const PLATFORMS: Readonly<Record<string, Platform>> = {
  x64: {
    package: "@rfaas/linux-x64",
    glibcLoader: "/lib64/ld-linux-x86-64.so.2",
    muslLoader: "/lib/ld-musl-x86_64.so.1",
  },
  arm64: {
    package: "@rfaas/linux-arm64",
    glibcLoader: "/lib/ld-linux-aarch64.so.1",
    muslLoader: "/lib/ld-musl-aarch64.so.1",
  },
};

const SYSTEMS: Readonly<Record<string, string>> = { darwin: "macOS", win32: "Windows" };

/** The package for this machine; undefined where {@link platformRefusal} says why there is none. */
export function platformPackage(machine: Machine = THIS_MACHINE): string | undefined {
  return platformRefusal(machine) === undefined ? PLATFORMS[machine.cpu]!.package : undefined;
}

/** Why rfaas cannot run on this machine, and what to do, in one sentence; undefined where it can. */
export function platformRefusal(machine: Machine = THIS_MACHINE): string | undefined {
  const { system, cpu } = machine;
  if (system !== "linux") {
    const instead =
      system === "win32" ? "run the program in WSL 2" : "run the program on a Linux machine";
    return `rfaas runs on Linux only, and this is ${SYSTEMS[system] ?? system}; ${instead}, or in a container with glibc, such as oven/bun:debian`;
  }
  const platform = Object.hasOwn(PLATFORMS, cpu) ? PLATFORMS[cpu]! : undefined;
  if (!platform)
    return `rfaas runs on CPUs of the kinds ${Object.keys(PLATFORMS).join(" and ")}, and this one is ${cpu}; run the program on one of those`;
  if (machine.exists(platform.muslLoader) && !machine.exists(platform.glibcLoader))
    return "rfaas needs glibc, and this system (Alpine, or one like it) has musl; run the program in an image with glibc, such as oven/bun:debian or debian:stable-slim";
  return undefined;
}
