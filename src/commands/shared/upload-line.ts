/** The line that shows the progress of a package upload. */
import type { UploadProgress } from "../../client/events/upload-progress.ts";
import { formatBytes } from "../../base/units.ts";

/** A shorter upload gets no line. */
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
