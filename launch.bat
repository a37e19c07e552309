@echo off
rem Finds a Python 3.10 to 3.14 and hands everything to app\bootstrap.py.
setlocal DisableDelayedExpansion
set "here=%~dp0"
set "check=import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))"
set "python="

rem The Microsoft Store's stand-in for python.exe fails the check as any unusable Python does.
if not exist "%here%.venv\Scripts\python.exe" goto search
"%here%.venv\Scripts\python.exe" -c "%check%" >nul 2>nul
if %errorlevel%==0 goto venv

:search
for %%v in (3.12 3.13 3.14 3.11 3.10) do if not defined python call :try py -%%v
for %%p in (python python3) do if not defined python call :try %%p
if defined python goto run
rem The texts are UTF-8.
chcp 65001 >nul
where uv >nul 2>nul
if errorlevel 1 goto none
type "%here%app\launch\uv_brings_python.txt"
set "UV_PYTHON_PREFERENCE=only-managed"
set "VIRTUAL_ENV="
uv python install 3.13
if errorlevel 1 goto none
rem From the root: a virtual environment or project in the current folder is none of ours.
pushd "%SystemDrive%\"
for /f "usebackq delims=" %%p in (`uv python find 3.13`) do set "found=%%p"
popd
set "UV_PYTHON_PREFERENCE="
if not defined found goto none
"%found%" -c "%check%" >nul 2>nul
if not %errorlevel%==0 goto none
set python="%found%"
goto run

:none
rem One that is too old or too new: bootstrap.py says so, and which one to take.
set "check=import sys; sys.exit(sys.version_info < (3, 9))"
for %%p in ("py -3" python python3) do if not defined python call :try %%~p
if defined python goto run
type "%here%app\launch\no_python.txt"
set "code=2"
goto end

:try
%* -c "%check%" >nul 2>nul
if %errorlevel%==0 set "python=%*"
exit /b

:venv
"%here%.venv\Scripts\python.exe" "%here%app\bootstrap.py" %*
set "code=%errorlevel%"
goto end

:run
%python% "%here%app\bootstrap.py" %*
set "code=%errorlevel%"

:end
rem After a double-click the window would close before anyone has read what went wrong.
if not "%code%"=="0" if "%~1"=="" pause
exit /b %code%
