/** Errors of workers name files by their places in a package; their author knows them by paths of this machine. */
import type { Origin } from "../../package/bundle/layout.ts";

/** As workers write it. */
const PACKAGE_PATH = /\bpackage:([0-9a-f]{16})\//;
/** Packages whose files are known by one process. */
const MAX_KNOWN = 1000;

const known = new Map<string, readonly Origin[]>();

/** Remembers of what folders a package was built. */
export function rememberOrigins(hash: string, origins: readonly Origin[]): void {
  known.delete(hash.slice(0, 16));
  known.set(
    hash.slice(0, 16),
    origins.toSorted((a, b) => b.prefix.length - a.prefix.length),
  );
  const [oldest] = known.keys();
  if (known.size > MAX_KNOWN) known.delete(oldest!);
}

/** Names files by their author's paths; those of a package that was built elsewhere by their place in it. */
export function withAuthorPaths(text: string): string {
  for (;;) {
    const [found, hash] = PACKAGE_PATH.exec(text) ?? [];
    if (found === undefined) return text;
    for (const { prefix, folder } of known.get(hash!) ?? [])
      text = text.replaceAll(prefix === "" ? found : `${found}${prefix}/`, `${folder}/`);
    text = text.replaceAll(found, "");
  }
}
