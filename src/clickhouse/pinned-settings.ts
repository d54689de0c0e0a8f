import type { ClickHouseSettings } from '@clickhouse/client';

import { MigrationError } from '../domain/failure';
import { CODES, clickHouseCode, serverWords } from './errors';

/**
 * Settings that decide what an answer says or what a statement does. The user's profile may have others (a default of the whole company, a
 * `users.d` for analysts), and a proof that is read through them would be a proof of something else: fewer rows, empty sums that are NULL, an
 * answer of yesterday out of a cache, an INSERT that is acknowledged before it is on disk. Each statement goes with these.
 *
 * Source: https://clickhouse.com/docs/operations/settings/settings
 */
const DECIDING: ClickHouseSettings = {
  // What is left out of an answer without a word.
  limit: '0',
  offset: '0',
  result_overflow_mode: 'throw',
  read_overflow_mode: 'throw',
  group_by_overflow_mode: 'throw',
  sort_overflow_mode: 'throw',
  set_overflow_mode: 'throw',
  join_overflow_mode: 'throw',
  distinct_overflow_mode: 'throw',
  transfer_overflow_mode: 'throw',
  timeout_overflow_mode: 'throw',
  additional_table_filters: '{}' as never,
  additional_result_filter: '',
  final: 0,
  use_query_cache: 0,
  partial_result_on_first_cancel: 0,
  // What expressions mean.
  aggregate_functions_null_for_empty: 0,
  empty_result_for_aggregation_by_empty_set: 0,
  join_use_nulls: 0,
  transform_null_in: 0,
  cast_keep_nullable: 0,
  prefer_column_name_to_alias: 0,
  // How they are written down.
  output_format_json_quote_64bit_integers: 1,
  output_format_json_named_tuples_as_objects: 0,
  date_time_output_format: 'simple',
  format_display_secrets_in_show_and_select: 0,
  // What this program's own tables get, and when it is there.
  async_insert: 0,
  data_type_default_nullable: 0,
  input_format_defaults_for_omitted_fields: 1,
  input_format_allow_errors_num: '0',
  input_format_allow_errors_ratio: 0,
  // A statement with the id of one that runs is refused, and does not end that one.
  replace_running_query: 0,
};

/** Limits that a statement of this program may exceed by right. Where the profile does not let go of them, they fail it loudly: the modes above see to that. */
const LIMITS: ClickHouseSettings = {
  max_result_rows: '0',
  max_result_bytes: '0',
  max_rows_to_read: '0',
  max_bytes_to_read: '0',
  max_rows_to_group_by: '0',
  max_rows_to_sort: '0',
  max_bytes_to_sort: '0',
  max_rows_in_set: '0',
  max_bytes_in_set: '0',
  max_rows_in_join: '0',
  max_bytes_in_join: '0',
  max_rows_in_distinct: '0',
  max_bytes_in_distinct: '0',
  max_execution_time: 0,
  max_estimated_execution_time: 0,
  force_index_by_date: 0,
  force_primary_key: 0,
};

/**
 * The settings to pin on a server: all that it knows.
 *
 * @param probe sends a statement of no consequence with these settings
 * @throws MigrationError `SETTING_FIXED` where the user's profile keeps one that decides on another value; whatever else `probe` throws
 */
export async function settingsToPin(probe: Probe, host: string, user: string): Promise<ClickHouseSettings> {
  const wanted = { ...DECIDING, ...LIMITS };
  const { accepted } = await sortSettings(probe, wanted, (name, error) => {
    if (clickHouseCode(error) !== CODES.UNKNOWN_SETTING && Object.hasOwn(DECIDING, name)) throw fixed(error, host, user, name, wanted[name]);
  });
  return accepted;
}

type Probe = (settings: ClickHouseSettings) => Promise<unknown>;

/**
 * Which of these settings a statement may bring. A server refuses one with a setting that it does not know, or that the user may not change, so it is
 * asked in halves which these are; `system.settings` is not, whose answer would be read through the settings in question.
 *
 * @param refused told of each that is refused, with the server's answer
 * @throws whatever `refused` throws, and what `probe` throws that is no refusal
 */
export async function sortSettings(
  probe: Probe,
  settings: ClickHouseSettings,
  refused: (name: string, error: unknown) => void = () => undefined,
): Promise<{ readonly accepted: ClickHouseSettings; readonly forbidden: readonly string[] }> {
  const forbidden: string[] = [];
  const sort = async (entries: readonly [string, unknown][]): Promise<readonly [string, unknown][]> => {
    try {
      await probe(Object.fromEntries(entries) as ClickHouseSettings);
      return entries;
    } catch (error) {
      const code = clickHouseCode(error);
      if (code === undefined || !REFUSED.has(code)) throw error;
      const [first] = entries;
      if (entries.length === 1 && first !== undefined) {
        refused(first[0], error);
        if (code !== CODES.UNKNOWN_SETTING) forbidden.push(first[0]);
        return [];
      }
      const middle = Math.ceil(entries.length / 2);
      return [...(await sort(entries.slice(0, middle))), ...(await sort(entries.slice(middle)))];
    }
  };
  return { accepted: Object.fromEntries(await sort(Object.entries(settings))) as ClickHouseSettings, forbidden };
}

/** Codes of a statement that is refused for its settings: others may be right, or fewer. */
export const REFUSED: ReadonlySet<number> = new Set([CODES.UNKNOWN_SETTING, CODES.READONLY, CODES.SETTING_CONSTRAINT_VIOLATION]);

function fixed(error: unknown, host: string, user: string, name: string, value: unknown): MigrationError {
  const cause = error instanceof MigrationError ? error.options.cause : error;
  return new MigrationError(
    'SETTING_FIXED',
    `${host}: the profile of the user ${user} keeps ${name} on another value than ${JSON.stringify(value)}, and answers could not be trusted: ${serverWords(cause)}`,
    { cause },
  );
}
