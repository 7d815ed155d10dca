/** The options that say what is in a package, and the line that shows how its upload goes. */
import { Type } from "@sinclair/typebox";
import type { PackageOptions } from "../../package/options.ts";
import type { UploadProgress } from "../../client/events/upload-progress.ts";
import { formatBytes } from "../../base/units.ts";
import { listOf, texts } from "./options.ts";

export const packageOptions = {
  include: Type.Optional(texts),
  external: Type.Optional(texts),
};

export const packageFlags = [
  {
    flag: "--include <pattern>",
    description:
      "files to bring along, from the module's folder: paths, folders, globs (repeatable)",
  },
  {
    flag: "--external <name>",
    description:
      "npm package to bring along whole (repeatable; those that look for their own files are found)",
  },
];

/** How errors of packages call them. */
export const packageTerms = { "include:": "--include:", "external:": "--external:" };

type Texts = string | number | (string | number)[] | undefined;

export function readPackageOptions(options: { include?: Texts; external?: Texts }): PackageOptions {
  const include = listOf(options.include);
  const external = listOf(options.external);
  return {
    ...(include.length > 0 ? { include } : {}),
    ...(external.length > 0 ? { external } : {}),
  };
}

/** An upload that is over sooner is not worth a line. */
const SHOWN_AFTER_MS = 300;
const REDRAW_MS = 100;

/** Shows an upload on stderr, when that is a terminal and it takes a while. */
export function showProgress(
  screen: Pick<NodeJS.WriteStream, "isTTY" | "write"> = process.stderr,
  clock: () => number = () => performance.now(),
): (progress: UploadProgress) => void {
  let nextMs: number | undefined;
  let shown = false;
  return ({ sentBytes, totalBytes }) => {
    if (!screen.isTTY) return;
    const now = clock();
    nextMs ??= now + SHOWN_AFTER_MS;
    const over = sentBytes === totalBytes;
    if (over ? !shown : now < nextMs) return;
    nextMs = now + REDRAW_MS;
    shown = true;
    const percent = totalBytes === 0 ? 100 : Math.floor((100 * sentBytes) / totalBytes);
    const line = `sending the package: ${formatBytes(sentBytes)} of ${formatBytes(totalBytes)} (${percent} %)`;
    screen.write(over ? "\r\x1b[K" : `\r\x1b[K${line}`);
  };
}
