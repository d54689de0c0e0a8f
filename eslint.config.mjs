import { builtinModules } from 'node:module';

import js from '@eslint/js';
import tseslint from 'typescript-eslint';

const DEVELOPMENT = {
  group: ['./dev/*', '../dev/*', '../../dev/*', '../src/dev/*', 'chdb', '@chdb/*'],
  message: 'The embedded stack is a matter of development: only src/dev, cli/dev, cli/demo, test and bench know of it.',
};

/** What is decided and sequenced is replayed: it reads nothing of the machine it runs on. */
const BUILT_INS = { regex: String.raw`^(node:|(${builtinModules.join('|')})(\/|$))`, message: 'domain and workflows use no Node built-ins.' };
const OUTSIDE = {
  group: ['../clickhouse/*', '../zookeeper/*', '../dev/*', '../cli/*', '../client/*', '../client', '../history/*', '../report/*', '../worker', '../bundle', 'chdb'],
  message: 'domain decides and workflows sequence; what touches the world is an activity.',
};
const ACTIVITIES = { group: ['../activities/*', '../activities'], allowTypeImports: true, message: 'Import the types of activities only.' };

/** `import('…')` is not seen by no-restricted-imports. */
const LATE_DEVELOPMENT = {
  selector: String.raw`ImportExpression[source.value=/^(\.\.?\/dev\/|@?chdb)/]`,
  message: DEVELOPMENT.message,
};

const restrictImports = (...patterns) => ({ '@typescript-eslint/no-restricted-imports': ['error', { patterns }] });

export default tseslint.config(
  { ignores: ['dist/', 'node_modules/', 'test/histories/'] },
  { linterOptions: { reportUnusedDisableDirectives: 'error' } },
  {
    files: ['**/*.ts'],
    extends: [js.configs.recommended, tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports', disallowTypeAnnotations: false }],
      // Numbers and booleans have one text; objects, null and undefined do not.
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true, allowNever: true }],
      '@typescript-eslint/no-unnecessary-condition': ['error', { allowConstantLoopConditions: 'only-allowed-literals' }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_', caughtErrors: 'all' }],
      // An empty string is no name, too.
      '@typescript-eslint/prefer-nullish-coalescing': ['error', { ignorePrimitives: { string: true } }],
      // Taste, not safety: `return answer(…)` ends a command, `Number(code)` compares an enum, `send<Result>()` names what is expected,
      // an async function without await rejects where it would throw.
      '@typescript-eslint/no-confusing-void-expression': 'off',
      '@typescript-eslint/no-unnecessary-type-conversion': 'off',
      '@typescript-eslint/no-unnecessary-type-parameters': 'off',
      '@typescript-eslint/non-nullable-type-assertion-style': 'off',
      '@typescript-eslint/prefer-optional-chain': 'off',
      '@typescript-eslint/require-await': 'off',
      eqeqeq: 'error',
      'no-console': 'error',
      'no-restricted-syntax': ['error', LATE_DEVELOPMENT],
      ...restrictImports(DEVELOPMENT),
    },
  },
  { files: ['src/domain/**/*.ts'], rules: restrictImports(BUILT_INS, OUTSIDE, ACTIVITIES, { group: ['../config/*', '../workflows/*', '@temporalio/*'], message: 'domain depends on nothing.' }) },
  {
    files: ['src/workflows/**/*.ts'],
    rules: {
      ...restrictImports(BUILT_INS, OUTSIDE, ACTIVITIES, { group: ['../config/*', '!../config/table-filter', '!../config/skips'], message: 'Workflows import config/table-filter and config/skips only.' }),
      // A signal changes the state during an await; the compiler still narrows by what was read before it.
      '@typescript-eslint/no-unnecessary-condition': 'off',
    },
  },
  {
    // Generated types of the Temporal API promise more than its answers keep; a session's fields are written by its events; a test doubts.
    files: ['src/client/**/*.ts', 'src/history/**/*.ts', 'src/zookeeper/connection.ts', 'test/**/*.ts'],
    rules: { '@typescript-eslint/no-unnecessary-condition': 'off' },
  },
  {
    // The embedded stack, those who drive it, and one look at where its Web UI is.
    files: ['src/dev/**/*.ts', 'src/cli/dev.ts', 'src/cli/demo.ts', 'src/cli/embedded-ui.ts', 'test/**/*.ts', 'bench/**/*.ts'],
    rules: { '@typescript-eslint/no-restricted-imports': 'off', 'no-restricted-syntax': 'off' },
  },
  { files: ['src/cli.ts', 'src/cli/**/*.ts', 'bench/**/*.ts'], rules: { 'no-console': 'off' } },
  { files: ['**/*.{cjs,mjs}'], extends: [js.configs.recommended], languageOptions: { globals: { module: 'writable', require: 'readonly', process: 'readonly' } } },
);
