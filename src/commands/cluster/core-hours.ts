/** Core-hours in a period, as the command line has them. */
import { UsageError } from "../../base/errors.ts";
import { CORE_HOURS_PATTERN, type CoreHours, readCoreHours } from "../../protocol/token.ts";

/** Throws {@link UsageError}. */
export function coreHoursOf(text: string, what: string): CoreHours {
  if (new RegExp(CORE_HOURS_PATTERN).test(text)) return readCoreHours(text);
  throw new UsageError(
    `${what} must be hours and a period, such as 100/month or 2.5/day; it is ${JSON.stringify(text)}`,
  );
}
