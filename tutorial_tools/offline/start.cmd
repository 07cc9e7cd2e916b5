@echo off
rem Installs the tutorials from the folder wheels, without a network, and opens them in JupyterLab.
cd /d "%~dp0"
if exist .venv\installed goto open
for %%v in (PYTHONS) do (
  py -%%v -c "" >nul 2>nul && set "VERSION=%%v" && goto install
)
echo These wheels are for Python PYTHONS. Install it from python.org, then start this script again.
goto failed
:install
echo Installing into .venv; this takes a minute or two, once.
set PIP_NO_INDEX=1
set PIP_FIND_LINKS=wheels
py -%VERSION% -m venv .venv || goto failed
.venv\Scripts\python -m pip install --quiet --require-hashes -r requirements.lock || goto failed
.venv\Scripts\python -m pip install --quiet --no-deps --no-build-isolation -e . || goto failed
type nul > .venv\installed
:open
.venv\Scripts\tutorial lab %*
exit /b
:failed
pause
exit /b 1
