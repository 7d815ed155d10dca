/** What leases may name as the root of their file system: a folder or a file of the operator's, or what an engine of containers has. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { SandboxDriver } from "./driver.ts";

/** As a registry has them: a host, a path, a tag, a digest. No path of a file, and no option. */
const REFERENCE =
  /^[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?::\d+)?(?:\/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*(?::\w[\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?$/i;
/** One entry of a folder. */
const ENTRY = /^\w[\w.-]*$/;
/** What engines take for a place where an image lies, and not for its name: files of the operator's would be read as images. */
const PLACES = [
  ...[
    "dir",
    "oci",
    "oci-archive",
    "docker-archive",
    "docker-daemon",
    "containers-storage",
    "docker",
  ],
  ...["ostree", "sif", "tarball", "atomic", "library", "shub", "oras", "instance", "http", "https"],
];

/** The image that a name stands for, as the driver takes it; undefined where the node can have none of this name. */
export function imageNamed(
  name: string,
  kinds: SandboxDriver["images"],
  folder: string | undefined,
): string | undefined {
  if (kinds !== "names" && folder !== undefined && ENTRY.test(name)) {
    const path = join(folder, name);
    if (existsSync(path)) return path;
  }
  if (!kinds.startsWith("name") || !REFERENCE.test(name)) return undefined;
  return PLACES.includes(name.split(":")[0]!.toLowerCase()) ? undefined : name;
}
