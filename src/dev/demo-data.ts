import fs from 'node:fs';
import path from 'node:path';
import type { SeedData, SeedTable } from './seed';

/**
 * Tables for the demonstration: real data from the npm package `vega-datasets` (weather, flights,
 * prices, films, …; sources in its README), tables with names that break careless programs, and
 * generated ones, up to one of 240 parts.
 */

type Row = Record<string, unknown>;

interface Dataset extends Omit<SeedTable, 'database' | 'data'> {
  file: string;
  /** Turns a row as shipped into a row of the table. */
  row?: (row: Row) => Row;
}

const day = (value: unknown): string => new Date(`${String(value)} UTC`).toISOString().slice(0, 10);
const minute = (value: unknown): string => new Date(`${String(value)} UTC`).toISOString().slice(0, 19).replace('T', ' ');

/** The real data, in the database `open_data`. */
const DATASETS: readonly Dataset[] = [
  {
    ...{ name: 'seattle_weather', file: 'seattle-weather.csv', partitionBy: 'toYYYYMM(date)', orderBy: 'date' },
    columns: 'date Date, precipitation Float32, temp_max Float32, temp_min Float32, wind Float32, weather LowCardinality(String)',
  },
  {
    ...{ name: 'weather', file: 'weather.csv', partitionBy: '(location, toYear(date))', orderBy: '(location, date)' },
    columns: 'location LowCardinality(String), date Date, precipitation Float32, temp_max Float32, temp_min Float32, wind Float32, weather String',
  },
  {
    ...{ name: 'flights', file: 'flights-20k.json', partitionBy: 'toYYYYMM(date)', orderBy: '(origin, date)' },
    columns: 'date DateTime, delay Int32, distance UInt32, origin LowCardinality(String), destination LowCardinality(String)',
    row: (row) => ({ ...row, date: minute(row['date']) }),
  },
  {
    ...{ name: 'flights_by_airport', file: 'flights-airport.csv', orderBy: '(origin, destination)' },
    columns: 'origin FixedString(3), destination FixedString(3), count UInt32',
  },
  {
    ...{ name: 'airports', file: 'airports.csv', partitionBy: 'state', orderBy: 'iata' },
    columns: 'iata String, name String, city String, state LowCardinality(String), country String, latitude Float64, longitude Float64',
  },
  {
    ...{ name: 'stocks', file: 'stocks.csv', partitionBy: 'symbol', orderBy: '(symbol, date)' },
    columns: 'symbol LowCardinality(String), date Date, price Decimal(10, 2)',
    row: (row) => ({ ...row, date: day(row['date']) }),
  },
  {
    ...{ name: 'sp500', file: 'sp500.csv', partitionBy: 'toYear(date)', orderBy: 'date', columns: 'date Date, price Decimal(10, 2)' },
    row: (row) => ({ ...row, date: day(row['date']) }),
  },
  {
    ...{ name: 'movies', file: 'movies.json', orderBy: 'tuple()', partitionBy: 'genre' },
    columns: 'title String, genre LowCardinality(String), director String, released String, gross Nullable(UInt64), rating Nullable(Float32)',
    row: (row) => ({
      ...{ title: String(row['Title']), genre: text(row['Major Genre']), director: text(row['Director']) },
      ...{ released: text(row['Release Date']), gross: row['Worldwide Gross'], rating: row['IMDB Rating'] },
    }),
  },
  {
    ...{ name: 'gapminder', file: 'gapminder.json', partitionBy: 'year', orderBy: '(country, year)' },
    columns: 'year UInt16, country String, cluster UInt8, pop UInt64, life_expect Float32, fertility Float32',
  },
  {
    ...{ name: 'cars', file: 'cars.json', partitionBy: 'Origin', orderBy: '(Name, Year)' },
    columns: 'Name String, Miles_per_Gallon Nullable(Float32), Cylinders UInt8, Horsepower Nullable(UInt16), Year Date, Origin LowCardinality(String)',
  },
  {
    ...{ name: 'jobs', file: 'jobs.json', partitionBy: 'year', orderBy: '(job, sex, year)' },
    columns: 'job String, sex LowCardinality(String), year UInt16, count UInt32, perc Float64',
  },
  {
    ...{ name: 'football', file: 'football.json', partitionBy: 'toYYYYMM(date)', orderBy: '(division, date)' },
    columns: 'date Date, division LowCardinality(String), home_team String, away_team String, home_score UInt8, away_score UInt8',
  },
  {
    ...{ name: 'birdstrikes', file: 'birdstrikes.csv', partitionBy: 'toYear(day)', orderBy: '(airport, day)' },
    columns: 'day Date, airport String, aircraft String, species String, cost UInt64',
    row: (row) => ({
      ...{ day: row['Flight Date'], airport: row['Airport Name'], aircraft: row['Aircraft Make Model'] },
      ...{ species: row['Wildlife Species'], cost: Number(row['Cost Total']) },
    }),
  },
  {
    ...{ name: 'zipcodes', file: 'zipcodes.csv', partitionBy: 'state', orderBy: 'zip_code' },
    columns: 'zip_code FixedString(5), latitude Float64, longitude Float64, city String, state LowCardinality(String), county String',
  },
  {
    ...{ name: 'co2', file: 'co2-concentration.csv', partitionBy: 'intDiv(toYear(date), 10)', orderBy: 'date', columns: 'date Date32, co2 Float32' },
    row: (row) => ({ date: row['Date'], co2: Number(row['CO2']) }),
  },
  {
    ...{ name: 'disasters', file: 'disasters.csv', partitionBy: 'Entity', orderBy: '(Entity, Year)' },
    columns: 'Entity LowCardinality(String), Year UInt16, Deaths UInt64',
  },
  {
    ...{ name: 'github', file: 'github.csv', partitionBy: 'toYYYYMM(time)', orderBy: 'time', columns: 'time DateTime, count UInt32' },
    row: (row) => ({ ...row, time: minute(row['time']) }),
  },
  {
    ...{ name: 'population', file: 'population.json', partitionBy: 'year', orderBy: '(year, age, sex)' },
    columns: 'year UInt16, age UInt8, sex UInt8, people UInt64',
  },
  { name: 'barley', file: 'barley.json', partitionBy: 'year', orderBy: '(variety, site)', columns: 'yield Float32, variety String, year UInt16, site String' },
  { name: 'global_temperature', file: 'global-temp.csv', orderBy: 'year', columns: 'year UInt16, temp Float32' },
  { name: 'iowa_electricity', file: 'iowa-electricity.csv', partitionBy: 'source', orderBy: 'year', columns: 'year Date, source String, net_generation UInt32' },
  {
    ...{ name: 'unemployment', file: 'unemployment-across-industries.json', partitionBy: 'year', orderBy: '(series, year, month)' },
    columns: 'series LowCardinality(String), year UInt16, month UInt8, count UInt32, rate Float32',
    row: ({ date: _, ...row }) => row,
  },
];

/**
 * Names a user may give: blanks, quotes of each kind, dots, a backslash, a percent sign, other scripts, a macro's look.
 * Control characters and emoji are not among them: ZooKeeper refuses them in a path.
 */
const HOSTILE_NAMES: readonly (readonly [database: string, name: string])[] = [
  ['odd names', 'two words'],
  ['odd names', "it's"],
  ['odd names', 'double "quoted"'],
  ['odd names', 'back`tick'],
  ['odd names', 'back\\slash'],
  ['odd names', 'dotted.name.'],
  ['odd names', '100%41'],
  ['odd names', '{shard}'],
  ['odd names', '<b>&amp;</b>'],
  ['odd names', '数据表'],
  ['odd names', 'таблица'],
  ['odd names', '-leading dash'],
  ["o'dd.`data`base", 'SELECT 1; --'],
];

const GENERATED_TABLES = 30;
const SHARED_TABLES = 3;
const MANY_PARTS = 240;

/** All tables of the demonstration, about 70. */
export function demoTables(): SeedTable[] {
  return [...DATASETS.map(realTable), ...HOSTILE_NAMES.map(hostileTable), ...generatedTables()];
}

/** Tables on the disk `object_storage`, whose replicas share their blobs. */
export function demoSharedTables(): SeedTable[] {
  return Array.from({ length: SHARED_TABLES }, (_, i): SeedTable => ({
    ...{ database: 'zero_copy', name: `orders_${i + 1}`, partitionBy: 'toYYYYMM(day)', orderBy: '(user, day)' },
    columns: 'day Date, user UInt32, amount Decimal(12, 2), note String',
    settings: { storage_policy: 'object_storage' },
    data: events(i),
  }));
}

function realTable({ file, row, ...table }: Dataset): SeedTable {
  const rows = readRows(file);
  return { ...table, database: 'open_data', data: [{ rows: row === undefined ? rows.map((each) => each) : rows.map(row) }] };
}

function hostileTable([database, name]: readonly [string, string], i: number): SeedTable {
  return {
    ...{ database, name, columns: '`key with blank` UInt64, `väl\\`ue` String', partitionBy: '`key with blank` % 2', orderBy: '`key with blank`' },
    data: [{ select: `SELECT number, concat('row ', toString(number)) FROM numbers(${10 + i})` }],
  };
}

function generatedTables(): SeedTable[] {
  const shop = Array.from({ length: GENERATED_TABLES }, (_, i): SeedTable => {
    const name = `events_${String(i + 1).padStart(2, '0')}`;
    return {
      ...{ database: 'shop', name, partitionBy: 'toYYYYMM(day)', orderBy: '(user, day)' },
      columns: 'day Date, user UInt32, amount Decimal(12, 2), note String',
      data: events(i),
    };
  });
  return [
    ...shop,
    {
      ...{ database: 'shop', name: 'clicks', partitionBy: 'day', orderBy: 'user', columns: 'day Date, user UInt32, url String' },
      data: [{ select: `SELECT toDate('2024-01-01') + number % ${MANY_PARTS}, number, concat('/p/', toString(number % 100)) FROM numbers(48000)` }],
    },
    { database: 'shop', name: 'empty', partitionBy: 'toYYYYMM(day)', orderBy: 'day', columns: 'day Date', data: [] },
    {
      // Equal contents three times in one partition: their parts differ only in name.
      ...{ database: 'shop', name: 'equal_parts', partitionBy: 'p', orderBy: 'x', columns: 'p UInt8, x UInt64' },
      data: Array.from({ length: 3 }, () => ({ select: 'SELECT 1, number FROM numbers(5)' })),
    },
  ];
}

/** Two inserts over four months: eight parts. */
function events(seed: number): SeedData[] {
  return [0, 1].map((half) => ({
    select:
      `SELECT toDate('2024-01-01') + number % 120, cityHash64(${seed}, ${half}, number) % 10000, ` +
      `(cityHash64(number, ${seed}) % 100000) / 100, concat('order ', toString(number)) FROM numbers(${500 + 50 * seed})`,
  }));
}

/** A data set as rows; numbers in CSV stay text, which ClickHouse reads as numbers where the column is one. */
function readRows(file: string): Row[] {
  // <package>/build/<entry>: its package.json is not exported.
  const folder = path.dirname(path.dirname(require.resolve('vega-datasets')));
  const content = fs.readFileSync(path.join(folder, 'data', file), 'utf8');
  if (file.endsWith('.json')) return JSON.parse(content) as Row[];
  const [header = [], ...lines] = parseCsv(content);
  return lines.map((line) => Object.fromEntries(header.map((name, i) => [name, line[i]])));
}

/** CSV with quoted fields, as RFC 4180. */
function parseCsv(content: string): string[][] {
  const fields = /("(?:[^"]|"")*"|[^,\r\n]*)(,|\r?\n|$)/y;
  const lines: string[][] = [];
  let line: string[] = [];
  while (fields.lastIndex < content.length) {
    const [, field = '', end = ''] = fields.exec(content) ?? [];
    line.push(field.startsWith('"') ? field.slice(1, -1).replaceAll('""', '"') : field);
    if (end === ',') continue;
    lines.push(line);
    line = [];
  }
  return lines;
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
